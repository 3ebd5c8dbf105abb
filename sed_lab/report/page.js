"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const list = $("list");
  const cards = [...list.querySelectorAll(".clip")];
  const dashes = ["", "7 4", "2 3", "8 3 2 3"];
  const SVG = "http://www.w3.org/2000/svg";
  let system = data.systems[0];
  const few = 10; // so many clips are shown until more are asked for
  let limit = few;

  const make = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const colour = (index) => `var(--c${index % 7})`;
  const dash = (index) => dashes[Math.floor(index / 7) % dashes.length];
  const seconds = (value) => value.toFixed(2);
  const clipOf = (card) => data.clips[Number(card.dataset.clip)];
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  // ---- one card: legend, posteriors, event rolls, cursor -------------------------------------------------------
  const drawn = new WeakMap(); // card -> { system, posteriors: [{values, hop, output}] }

  function draw(card) {
    if (drawn.get(card)?.system === system) return;
    const clip = clipOf(card);
    const result = clip.systems[system];
    const panels = card.querySelector(".drawn");
    panels.replaceChildren();
    const state = { system, readouts: [] };
    drawn.set(card, state);
    if (result.shown.length) panels.append(posteriorRow(clip, result, state));
    for (const index of rowsOf(clip, result)) panels.append(rollRow(clip, result, index));
    card.querySelector(".events-text").textContent = inWords(clip, result);
    moveCursor(card);
  }

  function rowsOf(clip, result) {
    const used = new Set([...clip.truth, ...result.detected].map((event) => event[2]));
    return data.classes.map((_, index) => index).filter((index) => used.has(index));
  }

  function posteriorRow(clip, result, state) {
    const row = make("div", "row posterior");
    const name = make("div", "name");
    const field = make("div", "field");
    row.append(name, field);
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${clip.duration} 1`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    if (data.threshold !== null) {
      const line = document.createElementNS(SVG, "line");
      for (const [key, value] of Object.entries({ x1: 0, x2: clip.duration, y1: 1 - data.threshold, y2: 1 - data.threshold })) line.setAttribute(key, value);
      svg.append(line);
    }
    if (result.hop) for (const level of [0, 0.5, 1]) { // the scale; without frames there is nothing to read on it
      const mark = make("span", "level", String(level));
      mark.style.bottom = `${8 + 84 * level}%`;
      field.append(mark);
    }
    for (const shown of result.shown) {
      const read = make("span", "read");
      const swatch = make("i");
      swatch.style.borderTopColor = colour(shown.class);
      swatch.style.borderTopStyle = dash(shown.class) ? "dashed" : "solid";
      const value = make("b", "", shown.clip === null ? "" : shown.clip.toFixed(2));
      read.append(make("span", "", data.classes[shown.class]), swatch, value);
      name.append(read);
      if (!shown.posterior) continue;
      const values = bytes(shown.posterior);
      const line = document.createElementNS(SVG, "polyline");
      const points = [];
      values.forEach((score, t) => points.push(`${((t + 0.5) * result.hop).toFixed(4)},${(1 - score / 255).toFixed(3)}`));
      line.setAttribute("points", points.join(" "));
      line.style.stroke = colour(shown.class);
      line.style.strokeDasharray = dash(shown.class);
      svg.append(line);
      state.readouts.push({ values, hop: result.hop, output: value });
    }
    field.prepend(svg);
    if (!state.readouts.length) field.style.display = "none";
    return row;
  }

  function rollRow(clip, result, index) {
    const row = make("div", "row roll");
    const field = make("div", "field");
    row.append(make("div", "name", data.classes[index]), field);
    field.append(lane("true", 2), lane("detected", 20));
    clip.truth.forEach((event, i) => {
      if (event[2] === index) field.append(bar(event, clip.duration, "true", result.hit[i], "found", "missed"));
    });
    result.detected.forEach((event, i) => {
      if (event[2] === index) field.append(bar(event, clip.duration, "detected", result.correct[i], "correct", "false alarm"));
    });
    return row;
  }

  function lane(text, top) {
    const node = make("span", "lane", text);
    node.style.top = `${top}px`;
    return node;
  }

  function bar([onset, offset, index], duration, side, right, good, bad) {
    const marked = data.judged;
    const node = make("span", `event ${side} ${right || !marked ? "hit" : "wrong"}`);
    node.style.setProperty("--colour", colour(index));
    node.style.left = `${(100 * onset) / duration}%`;
    node.style.width = `${(100 * (Math.min(offset, duration) - onset)) / duration}%`;
    node.title = `${side}: ${data.classes[index]}, ${seconds(onset)} to ${seconds(offset)} s${marked ? `, ${right ? good : bad}` : ""}`;
    return node;
  }

  function inWords(clip, result) {
    const say = (event, fate) => `${data.classes[event[2]]} ${seconds(event[0])} to ${seconds(event[1])} s${fate}`;
    const fate = (right, good, bad) => (data.judged ? `, ${right ? good : bad}` : "");
    const truth = clip.truth.map((event, i) => say(event, fate(result.hit[i], "found", "missed")));
    const detected = result.detected.map((event, i) => say(event, fate(result.correct[i], "correct", "false alarm")));
    return `True: ${truth.join("; ") || "no events"}. Detected: ${detected.join("; ") || "no events"}.`;
  }

  function moveCursor(card) {
    const clip = clipOf(card);
    const audio = card.querySelector("audio");
    const time = Math.min(audio ? audio.currentTime : Number(card.dataset.time || 0), clip.duration);
    const share = clip.duration ? time / clip.duration : 0;
    card.querySelector(".cursor").style.left = `calc(var(--gutter) + (100% - var(--gutter)) * ${share.toFixed(5)})`;
    card.querySelector(".now").textContent = `${seconds(time)} / ${seconds(clip.duration)} s`;
    const stage = card.querySelector(".stage");
    stage.setAttribute("aria-valuenow", seconds(time));
    stage.setAttribute("aria-valuetext", `${seconds(time)} seconds`);
    for (const { values, hop, output } of drawn.get(card)?.readouts ?? []) {
      const score = values[Math.min(values.length - 1, Math.floor(time / hop))];
      output.textContent = score === undefined ? "" : (score / 255).toFixed(2);
    }
  }

  // ---- playing and seeking -------------------------------------------------------------------------------------
  function seek(card, time) {
    const clip = clipOf(card);
    const audio = card.querySelector("audio");
    const bounded = Math.max(0, Math.min(clip.duration, time));
    if (audio) audio.currentTime = Math.min(bounded, Math.max(0, clip.duration - 0.01));
    else card.dataset.time = bounded;
    moveCursor(card);
  }

  function toggle(card) {
    const audio = card.querySelector("audio");
    if (!audio) return;
    if (audio.paused) audio.play();
    else audio.pause();
  }

  function listen(card) {
    const stage = card.querySelector(".stage");
    const audio = card.querySelector("audio");
    const seekTo = (event) => {
      const box = stage.querySelector(".field").getBoundingClientRect();
      seek(card, ((event.clientX - box.left) / box.width) * clipOf(card).duration);
    };
    stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      seekTo(event);
      if (event.pointerType === "mouse") stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener("pointermove", (event) => {
      if (stage.hasPointerCapture?.(event.pointerId)) seekTo(event);
    });
    card.addEventListener("keydown", (event) => {
      if (event.target === audio || // its own controls know these keys
          event.target.matches("select, input, button, summary") || event.ctrlKey || event.metaKey || event.altKey) return;
      const now = audio ? audio.currentTime : Number(card.dataset.time || 0);
      const step = event.shiftKey ? 1 : 0.1;
      const actions = {
        " ": () => toggle(card), ArrowLeft: () => seek(card, now - step), ArrowRight: () => seek(card, now + step),
        Home: () => seek(card, 0), End: () => seek(card, clipOf(card).duration),
      };
      if (!actions[event.key]) return;
      event.preventDefault();
      actions[event.key]();
    });
    if (!audio) return;
    const follow = () => {
      moveCursor(card);
      if (!audio.paused && !audio.ended) requestAnimationFrame(follow);
    };
    for (const name of ["seeking", "seeked", "timeupdate", "ended", "loadedmetadata"]) audio.addEventListener(name, () => moveCursor(card));
    audio.addEventListener("play", () => {
      for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
      follow();
    });
  }

  // ---- choosing and ordering -----------------------------------------------------------------------------------
  const errors = (clip) => {
    const result = clip.systems[system];
    return { missed: result.hit.filter((hit) => !hit).length, extra: result.correct.filter((right) => !right).length };
  };
  const orders = {
    worst: (a, b) => a.systems[system].f1 - b.systems[system].f1 || total(b) - total(a) || byName(a, b),
    best: (a, b) => -orders.worst(a, b),
    name: (a, b) => byName(a, b),
  };
  const total = (clip) => errors(clip).missed + errors(clip).extra;
  const byName = (a, b) => (a.id < b.id ? -1 : Number(a.id > b.id));

  function matches(clip) {
    const result = clip.systems[system];
    const wanted = $("by-class").value === "" ? null : Number($("by-class").value);
    const ofClass = (event) => wanted === null || event[2] === wanted;
    const missed = clip.truth.some((event, i) => !result.hit[i] && ofClass(event));
    const extra = result.detected.some((event, i) => !result.correct[i] && ofClass(event));
    const there = wanted === null || [...clip.truth, ...result.detected].some(ofClass);
    return there && { all: true, missed, false: extra, none: !missed && !extra }[$("by-error").value];
  }

  function update() {
    const order = orders[$("order").value];
    cards.sort((a, b) => order(clipOf(a), clipOf(b)));
    let count = 0;
    for (const card of cards) {
      const clip = clipOf(card);
      const found = matches(clip);
      count += Number(found);
      card.hidden = !found || count > limit;
      if (card.hidden) card.querySelector("audio")?.pause();
      const verdict = card.querySelector(".verdict");
      verdict.innerHTML = clip.systems[system].verdict; // written by page.py from numbers alone
      if (drawn.has(card)) draw(card);
    }
    list.append(...cards);
    $("count").textContent = `${count} of ${cards.length} clips`;
    $("nothing").hidden = count > 0;
    $("rest").hidden = count <= limit;
    $("more").textContent = `Show the other ${count - limit} clips`;
  }

  // ---- light and dark ------------------------------------------------------------------------------------------
  const stored = { get: () => { try { return localStorage.getItem("sed_lab-theme"); } catch { return null; } },
                   set: (value) => { try { localStorage.setItem("sed_lab-theme", value); } catch { /* a private window */ } } };
  const isDark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const showTheme = () => { $("theme").textContent = isDark() ? "Light" : "Dark"; };
  if (stored.get()) document.documentElement.dataset.theme = stored.get();
  $("theme").hidden = false;
  $("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    stored.set(document.documentElement.dataset.theme);
    showTheme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
  showTheme();

  // ---- start ---------------------------------------------------------------------------------------------------
  if (!cards.length) return;
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
  }, { rootMargin: "800px" });
  for (const card of cards) {
    listen(card);
    moveCursor(card);
    seen.observe(card);
  }
  const anew = () => { limit = few; update(); };
  for (const id of ["by-class", "by-error", "order"]) $(id).addEventListener("change", anew);
  $("system").addEventListener("change", () => { system = $("system").value; anew(); });
  $("reset").addEventListener("click", () => { $("by-class").value = ""; $("by-error").value = "all"; anew(); });
  $("more").addEventListener("click", () => {
    const next = cards.find((card) => card.hidden && matches(clipOf(card)));
    limit = cards.length;
    update();
    next.querySelector(".stage").focus(); // the keyboard goes on where the new clips begin
  });
  $("tools").addEventListener("submit", (event) => event.preventDefault());
  $("tools").hidden = false;
  update();
})();
