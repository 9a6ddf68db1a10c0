// Words that a screen reader says when they change: the element stays, and what is in it is replaced.

function render({model, el}) {
  const words = document.createElement("div");
  words.setAttribute("role", "status");
  words.style.lineHeight = "1.5";
  el.replaceChildren(words);
  const draw = () => { words.innerHTML = model.get("value"); };
  model.on("change:value", draw);
  draw();
  return () => model.off("change:value", draw);
}

export default {render};
