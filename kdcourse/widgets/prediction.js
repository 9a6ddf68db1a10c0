// A prediction as it is asked for. The button sends what the field holds at that moment, in one message: were the answer
// and the click two, a kernel that is busy would hear the click and an earlier answer.

function add(parent, tag, settings = {}, text = "") {
  const it = Object.assign(document.createElement(tag), settings);
  it.textContent = text;
  parent.append(it);
  return it;
}

const SENT = "Sent. The kernel is busy, or was started anew: if nothing follows when it is idle, run the cell again.";

// A field for a number, or a list to choose from; returns how to read it, to fill it, and to close it.
function answers(box, model) {
  const choices = model.get("choices"), unit = model.get("unit"), name = `Your prediction${unit && `, ${unit}`}`;
  if (choices.length === 0) {
    const label = add(box, "label", {className: "kd-label"}, `${name} `);
    const field = add(label, "input", {type: "text", autocomplete: "off"});
    return {read: () => field.value, fill: text => { field.value = text; }, close: shut => { field.readOnly = shut; }};
  }
  const group = `kd-prediction-${Math.random().toString(36).slice(2)}`;   // a page may ask several
  const radios = choices.map(choice => {
    const label = add(box, "label", {className: "kd-choice"});
    const it = add(label, "input", {type: "radio", name: group, value: choice});
    label.append(` ${choice}`);
    return it;
  });
  return {
    read: () => radios.find(it => it.checked)?.value ?? "",
    fill: text => { for (const it of radios) it.checked = it.value === text; },
    close: shut => { for (const it of radios) it.disabled = shut; },
  };
}

function render({model, el}) {
  el.replaceChildren();
  const root = add(el, "div", {className: "kd-prediction"}), box = add(root, "fieldset");
  add(box, "legend", {}, model.get("question"));
  const answer = answers(box, model), button = add(box, "button", {type: "button"}, "Commit");
  const words = add(root, "div", {tabIndex: -1});
  words.setAttribute("role", "status");
  let waiting;
  const commit = () => {
    if (model.get("committed")) return;
    model.send({answer: answer.read()});
    clearTimeout(waiting);
    waiting = setTimeout(() => { words.textContent = SENT; }, 1000);
  };
  button.addEventListener("click", commit);
  // in JupyterLab the arrows would go to the next cell, and Enter into the notebook
  box.addEventListener("keydown", event => {
    if (/^(Arrow|Home|End|Page|Enter| )/.test(event.key)) event.stopPropagation();
    if (event.key === "Enter" && event.target.tagName === "INPUT") { event.preventDefault(); commit(); }
  });
  const draw = () => {
    clearTimeout(waiting);
    const committed = model.get("committed"), within = root.contains(document.activeElement);
    if (committed) answer.fill(committed);
    answer.close(Boolean(committed));
    button.hidden = Boolean(committed);
    words.textContent = model.get("told");
    if (committed && within) words.focus();   // what had the focus may be gone
  };
  model.on("change:heard", draw);
  draw();
  return () => { clearTimeout(waiting); model.off("change:heard", draw); };
}

export default {render};
