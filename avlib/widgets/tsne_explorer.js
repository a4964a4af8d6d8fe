const STYLE = `
.avlib-points { color: var(--jp-ui-font-color1, #222); font: 13px system-ui, sans-serif; }
.avlib-points .bar, .avlib-points .row { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; margin: 4px 0; }
.avlib-points .row { align-items: flex-start; gap: 16px; }
.avlib-points .map { flex: 1 1 300px; max-width: 560px; aspect-ratio: 1.15; cursor: crosshair; touch-action: none; }
.avlib-points .side { flex: 1 1 240px; min-width: 200px; max-width: 420px; }
.avlib-points .lips { width: 168px; display: block; background: #8883; }
.avlib-points .groups { display: flex; gap: 12px; }
.avlib-points .groups img { width: 120px; min-height: 60px; display: block; background: #8883; }
.avlib-points .groups div { flex: 1 1 0; }`;
const COLOURS = ["#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd"], RINGS = { A: "#7b3fa0", B: "#d62728" };

const jpegBlob = bytes => new Blob([bytes], { type: "image/jpeg" });

// Whether a point is inside a closed polygon of points [x, y] (even-odd rule).
function inside([x, y], line) {
  let odd = false;
  line.forEach(([ax, ay], i) => {
    const [bx, by] = line[(i + 1) % line.length];
    if ((ay > y) !== (by > y) && x < ax + (bx - ax) * (y - ay) / (by - ay)) odd = !odd;
  });
  return odd;
}

// Points (N * 2) in pixels of a canvas, with a margin and space for the legend at the top.
function toPixels(points, width, height, margin = 14, legend = 16) {
  const coordinates = k => points.filter((_, i) => i % 2 === k), range = k => [Math.min(...coordinates(k)), Math.max(...coordinates(k))];
  const [[left, right], [low, high]] = [range(0), range(1)];
  return coordinates(0).map((x, i) => [margin + (width - 2 * margin) * (x - left) / (right - left || 1),
    height - margin - (height - legend - 2 * margin) * (points[2 * i + 1] - low) / (high - low || 1)]);
}

export default {
  async render({ model, el }) {
    const content = model.get("content"), [height, width] = content.crop, vocabulary = [...new Set(content.words)].sort();
    const maps = Object.fromEntries(Object.entries(content.maps).map(([name, entries]) =>
      [name, entries.map(m => ({ ...m, points: [...typedArray(Float32Array, m.points)] }))]));
    const sheet = await createImageBitmap(jpegBlob(content.sheet));
    const runOf = [];        // frame -> number of its word
    content.runs.forEach(([first, last], k) => { for (let n = first; n <= last; n++) runOf[n] = k; });
    const root = addElement(el, "div", "", { className: "avlib-points" });
    addElement(root, "style", STYLE);
    const bar = addElement(root, "div", "", { className: "bar" }), row = addElement(root, "div", "", { className: "row" });
    const choose = (label, options, change) => {
      const select = addElement(addElement(bar, "label", `${label} `), "select", "", { onchange: () => change(select.value) });
      options.forEach(([words, value]) => addElement(select, "option", words, { value }));
      return select;
    };
    choose("features", Object.keys(maps).map(name => [name, name]), name => { model.set("space", name); model.save_changes(); draw(); })
      .value = model.get("space");
    const which = choose("map", maps[model.get("space")].map((m, k) => [m.title, k]), () => draw());
    const target = choose("next lasso selects group", [["A", "A"], ["B", "B"]], () => {});
    addElement(bar, "button", "groups by word", { title: "the initial groups", onclick: () => { custom = false; setGroups(byWord); } });
    const canvas = addElement(row, "canvas", "", { className: "map" }), side = addElement(row, "div", "", { className: "side" });
    canvas.title = "hover over a dot to see its lips; click to play its word; draw around dots to select a group";
    const lips = addElement(side, "canvas", "", { className: "lips", width, height });
    const about = addElement(side, "div", "");
    about.style.minHeight = "5em";
    const groups = addElement(side, "div", "", { className: "groups" }), separation = addElement(side, "div", "");
    const means = ["A", "B"].map(name => {
      const box = addElement(groups, "div", "");
      return { name, image: addElement(box, "img", "", { alt: `mean lips of group ${name}` }), summary: addElement(box, "div", "") };
    });
    const byWord = model.get("groups");
    // selected: the frame whose lips are shown; custom: the groups were drawn with the lasso
    let dots = [], lasso = null, selected = -1, custom = false, audio = null, source = null, request = 0;

    function draw() {
      const entries = maps[model.get("space")];
      [...which.options].forEach((option, k) => { option.textContent = entries[k].title; });
      const wide = canvas.clientWidth, tall = canvas.clientHeight, c = canvas.getContext("2d");
      const groupsNow = model.get("groups"), ink = getComputedStyle(canvas).color;
      if (!wide) return;
      Object.assign(canvas, { width: wide * devicePixelRatio, height: tall * devicePixelRatio });
      c.scale(devicePixelRatio, devicePixelRatio);
      const frameOf = content.of_dots[model.get("space")];
      dots = toPixels(entries[which.value].points, wide, tall).map(([x, y], k) => ({ x, y, n: frameOf[k] }));
      const ring = custom && Object.fromEntries(["A", "B"].flatMap(name => groupsNow[name].map(n => [n, RINGS[name]])));
      const disc = (x, y, radius) => { c.beginPath(); c.arc(x, y, radius, 0, 7); };
      for (const { x, y, n } of dots) {
        c.globalAlpha = 0.75;
        c.fillStyle = COLOURS[vocabulary.indexOf(content.words[n]) % COLOURS.length];
        disc(x, y, runOf[n] === runOf[selected] ? 6 : 4);
        c.fill();
        c.globalAlpha = 1;
        if (ring?.[n]) { c.strokeStyle = ring[n]; c.lineWidth = 1.5; disc(x, y, 5); c.stroke(); }
        if (n === selected) { c.strokeStyle = ink; c.lineWidth = 2; disc(x, y, 8); c.stroke(); }
      }
      c.font = "12px system-ui, sans-serif";
      vocabulary.forEach((word, k) => { c.fillStyle = COLOURS[k % COLOURS.length]; c.fillText(`● ${word}`, 8 + 70 * k, 14); });
      if (lasso) {
        c.strokeStyle = RINGS[target.value];
        c.lineWidth = 1.5;
        c.beginPath();
        lasso.forEach(([x, y]) => c.lineTo(x, y));
        c.stroke();
      }
    }
    function select(n) {                // a frame: shows its lips and describes it
      if (n < 0 || n === selected) return;
      selected = n;
      lips.getContext("2d").drawImage(sheet, n % content.columns * width, Math.floor(n / content.columns) * height, width, height, 0, 0, width, height);
      const speaker = content.speakers[n] ? `, ${content.speakers[n]}` : "";
      const when = `frame ${content.frames[n]} (${(content.frames[n] / content.fps).toFixed(2)} s)`;
      about.textContent = `“${content.texts[n]}”: ${content.words[n]}, ${when} of ${content.names[n]}${speaker}`;
      draw();
    }
    function playWord(n) {              // the word of a frame, with its lips in synchrony
      if (!audio) {
        const samples = Float32Array.from(typedArray(Int16Array, content.sound), x => x / 32768);
        audio = new AudioContext();
        audio.words = audio.createBuffer(1, samples.length, content.rate);
        audio.words.copyToChannel(samples, 0);
      }
      source?.stop();
      source = new AudioBufferSourceNode(audio, { buffer: audio.words });
      source.connect(audio.destination);
      const [first, last] = content.runs[runOf[n]], start = content.starts[runOf[n]], duration = content.starts[runOf[n] + 1] - start;
      const began = audio.currentTime;
      source.start(0, start, duration);
      cancelAnimationFrame(request);
      (function follow() {
        const at = audio.currentTime - began;
        select(at < duration ? Math.min(last, first + Math.floor(at * content.fps)) : n);
        if (at < duration) request = requestAnimationFrame(follow);
      })();
    }
    function setGroups(next) {
      model.set("groups", next);
      model.save_changes();
      separation.textContent = "comparing …";
      draw();
    }
    function showComparison() {
      const comparison = model.get("comparison");
      means.forEach(({ name, summary, image }) => {
        summary.textContent = `${name}: ${comparison[name].summary}`;
        summary.style.color = custom ? RINGS[name] : COLOURS[name === "A" ? 0 : 1];
        URL.revokeObjectURL(image.src);
        image.src = URL.createObjectURL(jpegBlob(comparison[name].lips));
      });
      separation.textContent = comparison.separation;
    }

    const frameAt = e => {              // of the nearest dot within 12 pixels, else -1
      const [x, y] = [e.offsetX, e.offsetY], distance = dot => Math.hypot(dot.x - x, dot.y - y);
      const nearest = dots.reduce((a, b) => distance(b) < distance(a) ? b : a, dots[0]);
      return distance(nearest) < 12 ? nearest.n : -1;
    };
    canvas.onpointerdown = e => { canvas.setPointerCapture(e.pointerId); lasso = [[e.offsetX, e.offsetY]]; };
    canvas.onpointermove = e => {
      if (!lasso) return select(frameAt(e));
      lasso.push([e.offsetX, e.offsetY]);
      draw();
    };
    canvas.onpointerup = e => {
      const line = lasso ?? [], extent = Math.max(0, ...line.map(([x, y]) => Math.hypot(x - line[0][0], y - line[0][1])));
      lasso = null;
      if (extent < 8) { if (frameAt(e) >= 0) playWord(frameAt(e)); return draw(); }
      const frames = dots.filter(dot => inside([dot.x, dot.y], line)).map(dot => dot.n);
      const before = custom ? model.get("groups") : { A: [], B: [] };
      const [changed, other] = target.value === "A" ? ["A", "B"] : ["B", "A"];
      custom = true;
      target.value = other;
      setGroups({ [changed]: frames, [other]: before[other].filter(n => !frames.includes(n)) });
    };
    const watch = new ResizeObserver(draw);
    watch.observe(canvas);
    model.on("change:comparison", showComparison);
    showComparison();
    select(content.of_dots[model.get("space")][0]);
    return () => { model.off("change:comparison", showComparison); watch.disconnect(); cancelAnimationFrame(request); audio?.close(); };
  },
};
