// Keyboard, cursor and clicks of the explorer; what they mean is decided by the page's own process.
(() => {
  const KEYS = { n: "next", ArrowDown: "next", p: "previous", ArrowUp: "previous", c: "class", C: "class back", 0: "all" };
  const audio = () => document.querySelector(".explorer audio");
  const tell = (what) => emitEvent("explore", what);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const at = event.target instanceof Element ? event.target : document.body;
    if (at.closest("input, textarea, select, .q-menu, .q-select")) return;
    if (event.key.startsWith("Arrow") && at.closest(".q-slider, audio")) return;
    if (event.key === " " && audio() && !at.closest("button, audio, .q-btn, .q-item")) {
      event.preventDefault();
      audio().paused ? audio().play() : audio().pause();
    } else if (KEYS[event.key]) {
      event.preventDefault();
      tell({ key: KEYS[event.key] });
    }
  });
  document.addEventListener("click", (event) => {
    const clip = event.target.closest("[data-clip]"), named = event.target.closest("button[data-class]");
    if (clip) { clip.blur(); tell({ clip: +clip.dataset.clip }); }
    if (named) { named.blur(); tell({ class: +named.dataset.class }); }
    const stage = event.target.closest(".stage");
    if (stage && audio()) {
      const box = stage.getBoundingClientRect();
      audio().currentTime = (+stage.dataset.seconds * (event.clientX - box.left)) / box.width;
    }
  });
  const follow = () => {
    const stage = document.querySelector(".stage"), cursor = document.querySelector(".cursor");
    if (stage && cursor && audio()) {
      cursor.style.left = `${Math.min(100, (100 * audio().currentTime) / +stage.dataset.seconds)}%`;
    }
    requestAnimationFrame(follow);
  };
  requestAnimationFrame(follow);
})();
