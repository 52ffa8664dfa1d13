// The report's only script: figures under the pointer, and buttons that change a chart's scale. Without it all is there.
(() => {
  "use strict";
  document.documentElement.classList.add("js");
  const tip = document.getElementById("tip");

  const show = (v) => {
    if (v === 0) return "0";
    const a = Math.abs(v);
    if (a < 1e-4 || a >= 1e15) return v.toExponential(2);
    const [whole, part] = String(a >= 1e4 ? Math.round(v) : Number(v.toPrecision(4))).split(".");
    return whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") + (part ? "." + part : "");
  };

  const nearest = (xs, x) => {
    let low = 0, high = xs.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (xs[middle] < x) low = middle + 1; else high = middle;
    }
    return low && x - xs[low - 1] < xs[low] - x ? low - 1 : low;
  };

  const row = (name, value) => {
    const div = document.createElement("div"), b = document.createElement("b");
    b.textContent = value;
    div.append(b, name);
    return div;
  };

  for (const figure of document.querySelectorAll("figure[data-tip]")) {
    const data = JSON.parse(figure.dataset.tip);
    const views = [...figure.querySelectorAll(".view")], buttons = [...figure.querySelectorAll(".switch button")];
    buttons.forEach((button, chosen) => button.addEventListener("click", () => {
      views.forEach((view, k) => { view.hidden = k !== chosen; });
      buttons.forEach((other, k) => other.setAttribute("aria-pressed", String(k === chosen)));
    }));
    for (const svg of figure.querySelectorAll("svg.plot")) {
      const cross = svg.querySelector(".cross");
      const log = svg.dataset.log === "1", scale = log ? Math.log : (v) => v, back = log ? Math.exp : (v) => v;
      const low = scale(Number(svg.dataset.low)), high = scale(Number(svg.dataset.high));
      const hide = () => { tip.hidden = true; cross.style.visibility = "hidden"; };
      const move = (event) => {
        const box = svg.getBoundingClientRect();
        const wanted = back(low + (high - low) * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
        const near = data.lines.map((line) => nearest(line.x, wanted));
        const xs = data.lines.map((line, k) => line.x[near[k]]);
        const at = xs.reduce((a, b) => (Math.abs(a - wanted) <= Math.abs(b - wanted) ? a : b));
        const part = high > low ? (scale(at) - low) / (high - low) : 0.5;
        if (part < 0 || part > 1) return hide();
        for (const end of ["x1", "x2"]) cross.setAttribute(end, part * 100 + "%");
        cross.style.visibility = "visible";
        tip.replaceChildren(row(data.x, show(at)), ...data.lines.flatMap((line, k) =>
          // A line that has no point near here says nothing here.
          Math.abs(xs[k] - at) <= (line.x.at(-1) - line.x[0]) / 50 ? [row(line.name, show(line.y[near[k]]))] : []));
        tip.hidden = false;
        const left = event.clientX + 14 + tip.offsetWidth > innerWidth ? event.clientX - 14 - tip.offsetWidth : event.clientX + 14;
        tip.style.left = Math.max(4, left) + "px";
        tip.style.top = Math.max(4, event.clientY - tip.offsetHeight - 12) + "px";
      };
      svg.addEventListener("pointermove", move);
      svg.addEventListener("pointerdown", move);
      svg.addEventListener("pointerleave", hide);
      svg.addEventListener("pointercancel", hide);
    }
  }
})();
