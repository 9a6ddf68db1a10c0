// The temperature explorer as it is seen and moved: in JupyterLab, where anywidget calls `render`, and in a page without
// a kernel. First the mathematics, then the words: tests compare both with Python's. Then what is seen.

const MOST = 12;   // classes that fit

function logSoftmax(z, T) {
  const top = Math.max(...z);
  const scaled = z.map(one => (one - top) / T);
  const log = Math.log(scaled.reduce((sum, one) => sum + Math.exp(one), 0));
  return scaled.map(one => one - log);
}

// Of logits z_t and z_s and a label y at temperature T; `direction` is "forward" for KL(p_t || p_s), "reverse" for
// KL(p_s || p_t). Entropies and kl in nats; soft: the gradient of T^2 kl with respect to z_s; hard: of the cross-entropy.
export function numbers(z_t, z_s, y, T, direction) {
  const log_t = logSoftmax(z_t, T), log_s = logSoftmax(z_s, T);
  const p_t = log_t.map(Math.exp), p_s = log_s.map(Math.exp);
  const expected = (p, values) => p.reduce((sum, one, k) => sum + (one > 0 ? one * values[k] : 0), 0);
  const gap = log_s.map((one, k) => one - log_t[k]);
  const kl = direction === "forward" ? -expected(p_t, gap) : expected(p_s, gap);
  const soft = p_s.map((one, k) => direction === "forward" ? T * (one - p_t[k]) : T * one * (gap[k] - kl));
  const hard = logSoftmax(z_s, 1).map((one, k) => Math.exp(one) - (k === y ? 1 : 0));
  return {p_t, p_s, entropy_t: -expected(p_t, log_t), entropy_s: -expected(p_s, log_s), kl: Math.max(0, kl), soft, hard};
}

// The classes by the teacher's logits, the largest first.
const ranked = z_t => z_t.map((_, k) => k).sort((a, b) => z_t[b] - z_t[a] || a - b);

// The classes that are shown, from top to bottom; the same at every temperature.
function rowsOf(z_t, y) {
  if (z_t.length <= MOST) return z_t.map((_, k) => k);
  const shown = ranked(z_t).slice(0, MOST);
  return shown.includes(y) ? shown : [...shown.slice(0, -1), y];
}

// 1, 2, 5, 10, 20, ...: the first that no gradient of this image exceeds, whatever T is.
function limitOf(known, image, direction) {
  const sizes = known.temperatures.flatMap(T => numbers(
    known.z_t[image], known.z_s[image], known.y[image], T, direction).soft.map(Math.abs));
  const size = Math.max(...sizes);
  for (let power = 1; ; power *= 10) for (const step of [1, 2, 5]) if (step * power >= size) return step * power;
}

const percent = share => `${(100 * share).toFixed(1)} %`;
const signed = value => `${value < 0 && value.toFixed(3) !== "-0.000" ? "-" : "+"}${Math.abs(value).toFixed(3)}`;

// A number with so many significant digits, as Python's format "g" writes it.
export function general(value, digits) {
  if (!Number.isFinite(value)) return value > 0 ? "inf" : value < 0 ? "-inf" : "nan";
  const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
  const bare = text => text.includes(".") ? text.replace(/\.?0+$/, "") : text;
  if (exponent >= -4 && exponent < digits) return bare(value.toFixed(digits - 1 - exponent));
  return `${bare(mantissa)}e${exponent[0]}${exponent.slice(1).padStart(2, "0")}`;
}

function push(what, formula, gradient, classes) {
  const size = gradient.map(Math.abs), most = Math.max(...size);
  const k = size.findIndex(one => one >= most * (1 - 1e-9));   // of two that are equal but for rounding, the first
  if (Math.abs(gradient[k]) < 0.0005) return `${what}: its gradient, ${formula}, is below 0.0005 for every class.`;
  return `${what}: its gradient, ${formula}, is largest for “${classes[k]}”, ${signed(gradient[k])}: `
    + `descent ${gradient[k] < 0 ? "raises" : "lowers"} that logit.`;
}

// What is seen, in words and with its numbers.
export function sentences(known, image, T, direction) {
  const {classes, y} = known, z_t = known.z_t[image], K = classes.length;
  const now = numbers(z_t, known.z_s[image], y[image], T, direction);
  const most = p => `“${classes[p.indexOf(Math.max(...p))]}” (${percent(Math.max(...p))})`;
  const [, second, third] = ranked(z_t);
  const times = z => general(Math.exp((z[second] - z[third]) / T), 3);
  const forward = direction === "forward";
  const found = [
    `Image ${image} has the label “${classes[y[image]]}”. At T = ${general(T, 6)} the teacher gives most to `
      + `${most(now.p_t)}, the student to ${most(now.p_s)}.`,
    `Entropy: teacher ${now.entropy_t.toFixed(2)} nats, student ${now.entropy_s.toFixed(2)}; ${Math.log(K).toFixed(2)} `
      + `would be all ${K} classes alike. ${forward ? "KL(teacher ‖ student)" : "KL(student ‖ teacher)"} is `
      + `${now.kl.toFixed(3)} nats.`,
    third === undefined ? "There are two classes: there is no third one to compare the second with."
      : `The teacher's second and third classes are “${classes[second]}” and “${classes[third]}”: it finds the second `
        + `${times(z_t)} times as probable as the third, the student ${times(known.z_s[image])} times.`,
    push("Soft term", forward ? "T (p_s - p_t)" : "T p_s (log p_s / p_t - KL)", now.soft, classes),
    push("Cross-entropy", "p_s - y at T = 1, whatever T is", now.hard, classes),
  ];
  if (K > MOST)
    found.push(`The picture shows ${MOST} of ${K} classes: the teacher's most probable ones, and the label.`);
  return found;
}

function add(parent, tag, settings = {}, text = "") {
  const it = Object.assign(document.createElement(tag), settings);
  it.textContent = text;
  parent.append(it);
  return it;
}

const DIRECTIONS = {forward: "KL(teacher ‖ student)", reverse: "KL(student ‖ teacher)"};

// Everything that is moved: it asks the model what is chosen, and tells it.
function controls(root, model) {
  const {classes, y, temperatures} = model.get("known");
  const box = add(root, "div", {className: "kd-controls"});
  const labelled = (name, tag, settings) => add(add(box, "label", {className: "kd-label"}, `${name} `), tag, settings);
  const choose = (name, value) => { model.set(name, value); model.save_changes(); };
  const image = labelled("Image", "select");
  y.forEach((k, i) => add(image, "option", {value: i}, `${i}: ${classes[k]}`));
  const list = labelled("Temperature T", "select");
  temperatures.forEach((T, i) => add(list, "option", {value: i}, general(T, 6)));
  const slider = labelled("T (slider)", "input", {type: "range", min: 0, max: temperatures.length - 1, step: 1});
  image.addEventListener("change", () => choose("image", Number(image.value)));
  for (const it of [list, slider])
    it.addEventListener("input", () => choose("temperature", temperatures[Number(it.value)]));
  const set = add(box, "fieldset");
  add(set, "legend", {}, "Divergence");
  const group = `kd-direction-${Math.random().toString(36).slice(2)}`;   // a page may show several explorers
  const radios = Object.entries(DIRECTIONS).map(([value, name]) => {
    const label = add(set, "label");
    const it = add(label, "input", {type: "radio", name: group, value});
    label.append(` ${name}`);
    it.addEventListener("change", () => choose("direction", value));
    return it;
  });
  // in JupyterLab the arrows would go to the next cell
  box.addEventListener("keydown", event => { if (/^(Arrow|Home|End|Page|Enter| )/.test(event.key)) event.stopPropagation(); });
  return () => {
    image.value = model.get("image");
    list.value = slider.value = temperatures.indexOf(model.get("temperature"));
    slider.setAttribute("aria-valuetext", `T = ${general(model.get("temperature"), 6)}`);
    for (const it of radios) it.checked = it.value === model.get("direction");
  };
}

const COLUMNS = ["class", "teacher", "student", "soft term", "cross-entropy"];

// The table with a bar in each cell: probabilities grow to the right, gradients to both sides of their middle.
function bars(root, count) {
  const table = add(root, "table", {className: "kd-bars"});
  const caption = add(table, "caption"), head = add(add(table, "thead"), "tr"), body = add(table, "tbody");
  for (const name of COLUMNS) add(head, "th", {scope: "col"}, name);
  const rows = Array.from({length: count}, () => {
    const row = add(body, "tr"), name = add(row, "th", {scope: "row"});
    const cells = ["teacher", "student", "soft", "hard"].map(kind => {
      const cell = add(row, "td");
      return {bar: add(add(cell, "span", {className: "kd-track"}), "span", {className: `kd-bar kd-${kind}`}),
              text: add(cell, "span", {className: "kd-number"})};
    });
    return {name, cells};
  });
  const fill = (cell, from, share, text) => {
    Object.assign(cell.bar.style, {marginLeft: `${100 * from}%`, width: `${100 * share}%`});
    cell.text.textContent = text;
  };
  return (known, image, T, direction) => {
    const y = known.y[image], limit = limitOf(known, image, direction);
    const now = numbers(known.z_t[image], known.z_s[image], y, T, direction);
    caption.textContent = `Image ${image}: probabilities at T = ${general(T, 6)}, and gradients with respect to the student's `
      + `logits, on a scale from -${limit} to ${limit}`;
    rowsOf(known.z_t[image], y).forEach((k, row) => {
      const {name, cells: [teacher, student, soft, hard]} = rows[row];
      name.textContent = known.classes[k];
      name.className = k === y ? "kd-true" : "";
      fill(teacher, 0, now.p_t[k], percent(now.p_t[k]));
      fill(student, 0, now.p_s[k], percent(now.p_s[k]));
      for (const [cell, value] of [[soft, now.soft[k]], [hard, now.hard[k]]])
        fill(cell, 0.5 + Math.min(value, 0) / limit / 2, Math.abs(value) / limit / 2, signed(value));
    });
  };
}

function render({model, el}) {
  const known = model.get("known");
  el.replaceChildren();
  const root = add(el, "div", {className: "kd-temperature"});
  const choose = controls(root, model), stage = add(root, "div", {className: "kd-stage"});
  const photo = add(stage, "img", {className: "kd-image", width: 112, height: 112});
  const fill = bars(stage, Math.min(MOST, known.classes.length));
  const words = add(root, "div", {className: "kd-words"});
  words.setAttribute("role", "status");
  const draw = () => {
    const chosen = ["image", "temperature", "direction"].map(name => model.get(name)), [image, T] = chosen;
    choose();
    photo.src = known.images[image];
    photo.alt = `Image ${image} (label: ${known.classes[known.y[image]]}). The table beside it shows both networks at `
      + `T = ${general(T, 6)}.`;
    fill(known, ...chosen);
    const list = document.createElement("ul");
    for (const sentence of sentences(known, ...chosen)) add(list, "li", {}, sentence);
    words.replaceChildren(list);
  };
  const events = ["change:image", "change:temperature", "change:direction"];
  for (const event of events) model.on(event, draw);
  draw();
  return () => { for (const event of events) model.off(event, draw); };
}

export default {render};

// A model without a kernel: what is chosen is kept in the page.
export function standing(state) {
  const listeners = {};
  return {
    get: name => state[name],
    set: (name, value) => {
      state[name] = value;
      listeners[`change:${name}`]?.forEach(listener => listener());
    },
    on: (event, listener) => { (listeners[event] ??= new Set()).add(listener); },
    off: (event, listener) => { listeners[event]?.delete(listener); },
    save_changes: () => {},
  };
}
