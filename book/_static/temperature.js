"use strict";
// Temperature and the direction of KL, moved in the page: no kernel, no network. A classic script, so that it also runs
// from a disk. First the mathematics, which a test compares with Python's; then what is seen.

function logSoftmax(z, T) {
  const top = Math.max(...z);
  const scaled = z.map(one => (one - top) / T);
  const log = Math.log(scaled.reduce((sum, one) => sum + Math.exp(one), 0));
  return scaled.map(one => one - log);
}

// Of logits z_t and z_s and a label y at temperature T; `direction` is "forward" for KL(p_t || p_s), "reverse" for
// KL(p_s || p_t). Entropies and kl in nats; soft: the gradient of T^2 kl with respect to z_s; hard: of the cross-entropy.
function temperatureNumbers(z_t, z_s, y, T, direction) {
  const log_t = logSoftmax(z_t, T), log_s = logSoftmax(z_s, T);
  const p_t = log_t.map(Math.exp), p_s = log_s.map(Math.exp);
  const expected = (p, values) => p.reduce((sum, one, k) => sum + (one > 0 ? one * values[k] : 0), 0);
  const gap = log_s.map((one, k) => one - log_t[k]);
  const kl = direction === "forward" ? -expected(p_t, gap) : expected(p_s, gap);
  const soft = p_s.map((one, k) => direction === "forward" ? T * (one - p_t[k]) : T * one * (gap[k] - kl));
  const hard = logSoftmax(z_s, 1).map((one, k) => Math.exp(one) - (k === y ? 1 : 0));
  return {p_t, p_s, entropy_t: -expected(p_t, log_t), entropy_s: -expected(p_s, log_s), kl: Math.max(0, kl), soft, hard};
}

const TEMPERATURES = [0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64];

function temperatureExplorer(root, data) {
  const add = (parent, tag, settings = {}, text = "") => {
    const it = Object.assign(document.createElement(tag), settings);
    it.textContent = text;
    parent.append(it);
    return it;
  };
  root.replaceChildren();
  const controls = add(root, "div", {className: "kd-controls"});
  const image = labelled("Image", "select");
  data.y.forEach((k, i) => add(image, "option", {value: i}, `${i}: ${data.classes[k]}`));
  const slider = labelled("Temperature T", "input",
    {type: "range", min: 0, max: TEMPERATURES.length - 1, step: 1, value: TEMPERATURES.indexOf(4)});
  const shown = add(slider.parentElement, "output");
  const choice = add(controls, "fieldset");
  add(choice, "legend", {}, "Divergence");
  const forward = radio("KL(teacher ‖ student)", true), reverse = radio("KL(student ‖ teacher)", false);
  const picture = add(root, "img", {className: "kd-image", width: 112, height: 112});
  const words = add(root, "div", {className: "kd-words"});
  words.setAttribute("role", "status");
  const table = add(root, "table", {className: "kd-bars"});
  const head = add(add(table, "thead"), "tr"), body = add(table, "tbody");
  for (const name of ["class", "teacher", "student", "gradient of T² KL"]) add(head, "th", {scope: "col"}, name);
  const rows = data.classes.map(name => {
    const row = add(body, "tr");
    add(row, "th", {scope: "row"}, name);
    return ["teacher", "student", "gradient"].map(kind => {
      const cell = add(row, "td");
      return {bar: add(cell, "span", {className: `kd-bar kd-${kind}`}), text: add(cell, "span", {className: "kd-number"})};
    });
  });

  function labelled(name, tag, settings) {
    const label = add(controls, "label", {}, `${name} `);
    return add(label, tag, settings);
  }
  function radio(name, checked) {
    const label = add(choice, "label");
    const it = add(label, "input", {type: "radio", name: "kd-direction", checked});
    label.append(` ${name}`);
    return it;
  }
  function draw() {
    const i = Number(image.value), T = TEMPERATURES[Number(slider.value)], y = data.y[i];
    const direction = forward.checked ? "forward" : "reverse";
    const now = temperatureNumbers(data.z_t[i], data.z_s[i], y, T, direction);
    const most = values => data.classes[values.indexOf(Math.max(...values))];
    const percent = share => `${(100 * share).toFixed(1)} %`;
    const scale = Math.max(...now.soft.map(Math.abs), 1e-9);
    shown.textContent = String(T);
    slider.setAttribute("aria-valuetext", `T = ${T}`);
    picture.src = data.images[i];
    picture.alt = `Image ${i}, with the label ${data.classes[y]}`;
    rows.forEach(([teacher, student, gradient], k) => {
      fill(teacher, now.p_t[k], percent(now.p_t[k]));
      fill(student, now.p_s[k], percent(now.p_s[k]));
      fill(gradient, Math.abs(now.soft[k]) / scale, `${now.soft[k] < 0 ? "−" : "+"}${Math.abs(now.soft[k]).toFixed(3)}`);
      gradient.bar.classList.toggle("kd-negative", now.soft[k] < 0);
    });
    const k = now.soft.map(Math.abs).indexOf(Math.max(...now.soft.map(Math.abs)));
    const name = forward.checked ? "KL(teacher ‖ student)" : "KL(student ‖ teacher)";
    words.textContent = `At T = ${T} the teacher gives most to “${most(now.p_t)}” (${percent(Math.max(...now.p_t))}), the `
      + `student to “${most(now.p_s)}” (${percent(Math.max(...now.p_s))}). Entropy: teacher ${now.entropy_t.toFixed(2)} nats, `
      + `student ${now.entropy_s.toFixed(2)}. ${name} is ${now.kl.toFixed(3)} nats. Its gradient, times T², is largest for `
      + `“${data.classes[k]}”: descent ${now.soft[k] < 0 ? "raises" : "lowers"} that logit.`;
  }
  function fill(cell, share, text) {
    cell.bar.style.width = `${100 * share}%`;
    cell.text.textContent = text;
  }
  for (const it of [image, slider, forward, reverse]) it.addEventListener("input", draw);
  draw();
}

addEventListener("DOMContentLoaded", () => {
  const root = document.getElementById("temperature-explorer");
  if (root) temperatureExplorer(root, globalThis.temperatureData);
});
