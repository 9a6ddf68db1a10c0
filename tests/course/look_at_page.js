() => {
  // What a reader could miss on this page: one object, in plain values.
  const article = document.querySelector(".bd-article") ?? document.body;
  const say = it => `${it.tagName.toLowerCase()}.${it.className} ${(it.textContent ?? "").trim().slice(0, 40)}`;
  const scrolls = it => ["auto", "scroll"].includes(getComputedStyle(it).overflowX);
  const inScroller = it => { for (; it && it !== article; it = it.parentElement) if (scrolls(it)) return true; return false; };
  const visible = it => it.checkVisibility() && it.getBoundingClientRect().width > 1;

  const outside = [...article.querySelectorAll("*")].filter(
    it => visible(it) && !it.closest("mjx-container *") && it.getBoundingClientRect().right > innerWidth + 1 && !inScroller(it)).map(say);

  const images = [...article.querySelectorAll("img")];
  const wrong = images.filter(it => {
    const box = it.getBoundingClientRect();
    return !it.complete || !it.naturalWidth || !it.alt || box.width < 8 || box.left < 0 || box.right > innerWidth + 1
      || Math.abs(box.width / box.height - it.naturalWidth / it.naturalHeight) > 0.02 * box.width / box.height;
  }).map(it => `${it.src.slice(-60)} "${it.alt.slice(0, 40)}" ${it.getBoundingClientRect().width}`);

  const maths = [...article.querySelectorAll(".math")];
  const formulas = {
    there: maths.length,
    drawn: maths.filter(it => [...it.querySelectorAll("mjx-container")].some(box => !box.checkVisibility()
      || box.getBoundingClientRect().height > 3)).length,
    errors: article.querySelectorAll("mjx-merror, [data-mjx-error]").length,
  };

  const headings = [...article.querySelectorAll("h1, h2, h3, h4, h5, h6")].map(it => Number(it.tagName[1]));

  const channel = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const known = new Map();
  const rgba = colour => {   // whatever way the colour is written
    if (!known.has(colour)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      known.set(colour, [r, g, b, a / 255]);
    }
    return known.get(colour);
  };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
  const behind = it => {
    const layers = [];
    for (; it; it = it.parentElement) {
      const colour = rgba(getComputedStyle(it).backgroundColor);
      layers.push(colour);
      if (colour[3] > 0.99) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const pale = () => {
    const found = new Set();
    const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (const of = new Set(); words.nextNode();) {
      const it = words.currentNode.parentElement;
      if (!it || of.has(it) || !words.currentNode.data.trim() || !visible(it) || it.closest("mjx-container, script, style"))
        continue;
      of.add(it);
      const style = getComputedStyle(it), ground = behind(it);
      const [one, other] = [light(over(rgba(style.color), ground)), light(ground)].sort((a, b) => b - a);
      const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
      const ratio = (one + 0.05) / (other + 0.05);
      if (ratio < (large ? 3 : 4.5)) found.add(`${ratio.toFixed(2)} ${style.color} on ${ground.map(Math.round)} ${say(it)}`);
    }
    return [...found].slice(0, 8);
  };
  const html = document.documentElement, before = html.dataset.theme;
  const themes = {};
  const still = document.createElement("style");
  still.textContent = "* { transition: none !important }";
  document.head.append(still);
  for (const theme of ["light", "dark"]) {
    html.dataset.theme = theme;
    themes[theme] = pale();
  }
  html.dataset.theme = before ?? "";
  still.remove();
  return {width: html.scrollWidth, outside, pictures: {there: images.length, wrong}, formulas, headings, pale: themes};
}
