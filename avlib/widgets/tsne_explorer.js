const LOOKS = `
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

const picture = bytes => new Blob([bytes], { type: "image/jpeg" });

// Whether a point is inside a closed line of points [x, y].
function inside([x, y], line) {
  let odd = false;
  line.forEach(([ax, ay], i) => {
    const [bx, by] = line[(i + 1) % line.length];
    if ((ay > y) !== (by > y) && x < ax + (bx - ax) * (y - ay) / (by - ay)) odd = !odd;
  });
  return odd;
}

// Points (N * 2) as places in a picture, its edges and the legend above left free.
function placed(points, width, height, margin = 14, legend = 16) {
  const at = k => points.filter((_, i) => i % 2 === k), range = k => [Math.min(...at(k)), Math.max(...at(k))];
  const [[left, right], [low, high]] = [range(0), range(1)];
  return at(0).map((x, i) => [margin + (width - 2 * margin) * (x - left) / (right - left || 1),
    height - margin - (height - legend - 2 * margin) * (points[2 * i + 1] - low) / (high - low || 1)]);
}

export default {
  async render({ model, el }) {
    const given = model.get("content"), [tall, wide] = given.crop, kinds = [...new Set(given.words)].sort();
    const maps = Object.fromEntries(Object.entries(given.maps).map(([name, drawn]) =>
      [name, drawn.map(m => ({ ...m, points: [...typedArray(Float32Array, m.points)] }))]));
    const sheet = await createImageBitmap(picture(given.sheet));
    const runOf = [];
    given.runs.forEach(([first, last], k) => { for (let n = first; n <= last; n++) runOf[n] = k; });
    const root = addElement(el, "div", "", { className: "avlib-points" });
    addElement(root, "style", LOOKS);
    const bar = addElement(root, "div", "", { className: "bar" }), row = addElement(root, "div", "", { className: "row" });
    const choose = (label, options, change) => {
      const select = addElement(addElement(bar, "label", `${label} `), "select", "", { onchange: () => change(select.value) });
      options.forEach(([words, value]) => addElement(select, "option", words, { value }));
      return select;
    };
    choose("frames as", Object.keys(maps).map(name => [name, name]), name => { model.set("space", name); model.save_changes(); draw(); })
      .value = model.get("space");
    const which = choose("map", maps[model.get("space")].map((m, k) => [m.title, k]), () => draw());
    const target = choose("the next lasso is group", [["A", "A"], ["B", "B"]], () => {});
    addElement(bar, "button", "words as groups", { title: "as it was at first", onclick: () => { chosen = false; group(byWord); } });
    const canvas = addElement(row, "canvas", "", { className: "map" }), side = addElement(row, "div", "", { className: "side" });
    canvas.title = "point at a dot; click to hear its word; draw around dots to compare them";
    const lips = addElement(side, "canvas", "", { className: "lips", width: wide, height: tall });
    const about = addElement(side, "div", "");
    about.style.minHeight = "5em";
    const groups = addElement(side, "div", "", { className: "groups" }), apart = addElement(side, "div", "");
    const means = ["A", "B"].map(name => {
      const box = addElement(groups, "div", "");
      return { name, image: addElement(box, "img", "", { alt: `mean lips of group ${name}` }), told: addElement(box, "div", "") };
    });
    const byWord = model.get("groups");
    let dots = [], line = null, pointed = -1, chosen = false, audio = null, source = null, due = 0;

    function draw() {
      const drawn = maps[model.get("space")];
      [...which.options].forEach((option, k) => { option.textContent = drawn[k].title; });
      const width = canvas.clientWidth, height = canvas.clientHeight, c = canvas.getContext("2d"), held = model.get("groups"), ink = getComputedStyle(canvas).color;
      if (!width) return;
      Object.assign(canvas, { width: width * devicePixelRatio, height: height * devicePixelRatio });
      c.scale(devicePixelRatio, devicePixelRatio);
      const behind = given.behind[model.get("space")];
      dots = placed(drawn[which.value].points, width, height).map(([x, y], k) => ({ x, y, n: behind[k] }));
      const ring = chosen && Object.fromEntries(["A", "B"].flatMap(name => held[name].map(n => [n, RINGS[name]])));
      const disc = (x, y, radius) => { c.beginPath(); c.arc(x, y, radius, 0, 7); };
      for (const { x, y, n } of dots) {
        c.globalAlpha = 0.75;
        c.fillStyle = COLOURS[kinds.indexOf(given.words[n]) % COLOURS.length];
        disc(x, y, runOf[n] === runOf[pointed] ? 6 : 4);
        c.fill();
        c.globalAlpha = 1;
        if (ring?.[n]) { c.strokeStyle = ring[n]; c.lineWidth = 1.5; disc(x, y, 5); c.stroke(); }
        if (n === pointed) { c.strokeStyle = ink; c.lineWidth = 2; disc(x, y, 8); c.stroke(); }
      }
      c.font = "12px system-ui, sans-serif";
      kinds.forEach((word, k) => { c.fillStyle = COLOURS[k % COLOURS.length]; c.fillText(`● ${word}`, 8 + 70 * k, 14); });
      if (line) {
        c.strokeStyle = RINGS[target.value];
        c.lineWidth = 1.5;
        c.beginPath();
        line.forEach(([x, y]) => c.lineTo(x, y));
        c.stroke();
      }
    }
    function point(n) {                 // at a frame: its lips, and what is known of it
      if (n < 0 || n === pointed) return;
      pointed = n;
      lips.getContext("2d").drawImage(sheet, n % given.columns * wide, Math.floor(n / given.columns) * tall, wide, tall, 0, 0, wide, tall);
      const speaker = given.speakers[n] ? `, ${given.speakers[n]}` : "";
      const when = `frame ${given.frames[n]} (${(given.frames[n] / given.fps).toFixed(2)} s)`;
      about.textContent = `“${given.texts[n]}”: ${given.words[n]}, ${when} of ${given.names[n]}${speaker}`;
      draw();
    }
    function say(n) {                   // the word it is in, its lips in step
      if (!audio) {
        const samples = Float32Array.from(typedArray(Int16Array, given.sound), x => x / 32768);
        audio = new AudioContext();
        audio.words = audio.createBuffer(1, samples.length, given.rate);
        audio.words.copyToChannel(samples, 0);
      }
      source?.stop();
      source = new AudioBufferSourceNode(audio, { buffer: audio.words });
      source.connect(audio.destination);
      const [first, last] = given.runs[runOf[n]], begin = given.begins[runOf[n]], long = given.begins[runOf[n] + 1] - begin;
      const began = audio.currentTime;
      source.start(0, begin, long);
      cancelAnimationFrame(due);
      (function move() {
        const at = audio.currentTime - began;
        point(at < long ? Math.min(last, first + Math.floor(at * given.fps)) : n);
        if (at < long) due = requestAnimationFrame(move);
      })();
    }
    function group(next) {
      model.set("groups", next);
      model.save_changes();
      apart.textContent = "compares …";
      draw();
    }
    function tell() {
      const told = model.get("told");
      means.forEach(({ name, told: words, image }) => {
        words.textContent = `${name}: ${told[name].told}`;
        words.style.color = chosen ? RINGS[name] : COLOURS[name === "A" ? 0 : 1];
        URL.revokeObjectURL(image.src);
        image.src = URL.createObjectURL(picture(told[name].lips));
      });
      apart.textContent = told.apart;
    }

    const near = e => {
      const [x, y] = [e.offsetX, e.offsetY], far = dot => Math.hypot(dot.x - x, dot.y - y);
      const best = dots.reduce((a, b) => far(b) < far(a) ? b : a, dots[0]);
      return far(best) < 12 ? best.n : -1;
    };
    canvas.onpointerdown = e => { canvas.setPointerCapture(e.pointerId); line = [[e.offsetX, e.offsetY]]; };
    canvas.onpointermove = e => {
      if (!line) return point(near(e));
      line.push([e.offsetX, e.offsetY]);
      draw();
    };
    canvas.onpointerup = e => {
      const around = line ?? [], far = Math.max(0, ...around.map(([x, y]) => Math.hypot(x - around[0][0], y - around[0][1])));
      line = null;
      if (far < 8) { if (near(e) >= 0) say(near(e)); return draw(); }
      const taken = dots.filter(dot => inside([dot.x, dot.y], around)).map(dot => dot.n), held = chosen ? model.get("groups") : { A: [], B: [] };
      const [mine, other] = target.value === "A" ? ["A", "B"] : ["B", "A"];
      chosen = true;
      target.value = other;
      group({ [mine]: taken, [other]: held[other].filter(n => !taken.includes(n)) });
    };
    const watch = new ResizeObserver(draw);
    watch.observe(canvas);
    model.on("change:told", tell);
    tell();
    point(given.behind[model.get("space")][0]);
    return () => { model.off("change:told", tell); watch.disconnect(); cancelAnimationFrame(due); audio?.close(); };
  },
};
