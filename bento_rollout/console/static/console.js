// Everything here is a convenience: each page works as plain forms without it.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const $ = (selector, inside = document) => inside.querySelector(selector);
  const kept = (name, value) => {
    try {
      if (value !== undefined) localStorage.setItem(name, value);
      return localStorage.getItem(name);
    } catch { return null; }
  };

  // the menu of narrow screens
  const menu = $(".menu"), nav = $("#nav");
  if (menu) {
    menu.hidden = false;
    menu.addEventListener("click", () => {
      const shown = nav.classList.toggle("shown");
      menu.setAttribute("aria-expanded", String(shown));
    });
  }

  // charts: the data stands in the page, and the table beside it says the same
  const color = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const draw = (figure) => {
    const plot = $(".plot", figure), data = JSON.parse($("script", figure).textContent);
    plot.replaceChildren();
    const width = plot.parentElement.clientWidth;
    if (!window.uPlot || width < 120) return;
    const paths = data.stepped ? { paths: uPlot.paths.stepped({ align: 1 }) } : {};
    const axis = { stroke: color("--soft"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    new uPlot({
      width, height: 200, legend: { show: false }, cursor: { show: false },
      scales: { x: { time: Boolean(data.time) }, y: data.y ? { range: data.y } : { range: (_, low, high) => [0, high || 1] } },
      axes: [
        { ...axis, label: data.time ? undefined : plot.dataset.x, labelFont: "12px system-ui", labelSize: 18, size: 30, space: 60, ...(data.whole ? { incrs: [1, 2, 5, 10, 20, 50, 100, 1000, 10000] } : {}) },
        { ...axis, size: 46, values: (_, ticks) => ticks.map((tick) => `${tick}${data.unit && "\u202f" + data.unit}`) },
      ],
      series: [{}, ...data.series.map((one) => ({
        label: one.label, stroke: color(`--c${one.color}`), width: 2, points: { show: data.x.length < 12, size: 6 }, ...paths,
      }))],
    }, [data.x, ...data.series.map((one) => one.values)], plot);
  };
  const drawAll = () => document.querySelectorAll("[data-chart]").forEach(draw);
  drawAll();
  let later = 0;
  addEventListener("resize", () => { clearTimeout(later); later = setTimeout(drawAll, 150); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);

  // review
  const work = () => $("#work");
  if (!$("#status")) return;
  let shownAt = performance.now(), away = 0, leftAt = 0, active = 0;
  const isBusy = () => work().classList.contains("waiting");

  const keys = $("#keys"), help = $("#help");
  $(".tools").hidden = false;
  const setKeys = (on) => {
    keys.setAttribute("aria-checked", String(on));
    root.classList.toggle("mute", !on);
  };
  setKeys(kept("bento-rollout-keys") !== "off");
  keys.addEventListener("click", () => {
    const on = keys.getAttribute("aria-checked") !== "true";
    kept("bento-rollout-keys", on ? "on" : "off");
    setKeys(on);
    say(on ? "Keys are on" : "Keys are off");
  });
  $("#help-open").addEventListener("click", () => help.showModal());

  const say = (words) => { $("#status").textContent = words; };
  const begin = () => {
    shownAt = performance.now();
    away = leftAt = 0;
  };
  const inField = (target) => target.closest("input, textarea, select, [contenteditable]");
  const press = (button) => { if (button && !isBusy()) button.click(); };
  const open = (details) => {
    details.open = true;
    $("input:not([type=hidden]), textarea", details).focus();
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.repeat) return;
    if (keys.getAttribute("aria-checked") !== "true" || inField(event.target) || help.open) return;
    const here = work(), key = event.key;
    if (/^[0-9]$/.test(key)) press($(`[data-key="${key}"]`, here));
    else if (key === "s" && $("#skip", here)) open($("#skip", here));
    else if (key === "u") press($("#undo", here));
    else if (key === "n") {
      const next = $("#keep", here) || $("#next", here);
      if (next) press(next);
      else if ($("#answer", here)) say("Answer this one first, or skip it");
    } else if (key === "?") help.showModal();
    else return;
    event.preventDefault();
  });

  // how long a case was looked at: not while the page was out of sight
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) leftAt = performance.now();
    else if (leftAt) { away += performance.now() - leftAt; leftAt = 0; }
  });
  document.addEventListener("submit", (event) => {
    const seconds = $("[name=seconds]", event.target);
    if (seconds) seconds.value = ((performance.now() - shownAt - away) / 1000).toFixed(1);
    if (event.target.closest("#work")) {
      if (isBusy()) { event.preventDefault(); event.stopImmediatePropagation(); return; }
      work().classList.add("waiting");
    }
  }, true);

  document.addEventListener("htmx:after:swap", () => {
    begin();
    const wrong = $("[role=alert]", work());
    say(wrong ? "" : work().dataset.say || "");
    root.classList.add("still");  // a pointer that rests where a new button appears has chosen nothing
    ($("#case-title") || $("#next") || $("h1", work()) || $("#content")).focus({ preventScroll: true });
    if (matchMedia("(max-width: 55.99rem)").matches) work().scrollIntoView({ block: "start" });
  });
  const failed = () => {
    work().classList.remove("waiting");
    say("The service did not answer. Try again.");
  };
  document.addEventListener("htmx:error", failed);

  addEventListener("pointermove", () => root.classList.remove("still"), { passive: true });

  // a case stays in hand while somebody works on it
  const alive = () => { active = performance.now(); };
  ["pointerdown", "keydown", "scroll"].forEach((name) => addEventListener(name, alive, { passive: true }));
  let renewed = performance.now();
  setInterval(() => {
    const here = work(), now = performance.now(), pause = Math.min(60000, here.dataset.lease * 300);
    if (!here.dataset.renew || now - renewed < pause || now - active > pause) return;
    renewed = now;
    const body = new URLSearchParams({ csrf: $("[name=csrf]", here).value });
    fetch(here.dataset.renew, { method: "POST", body, redirect: "manual" }).catch(() => {});
  }, 5000);
  begin();
})();
