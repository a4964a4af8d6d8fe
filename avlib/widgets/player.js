const STYLE = `
.avlib-player { color: var(--jp-ui-font-color1, #222); font: 13px system-ui, sans-serif; outline: none; max-width: 1040px; contain: content; }
.avlib-player .faces { display: flex; gap: 8px; }
.avlib-player figure { margin: 0; flex: 1 1 0; min-width: 0; text-align: center; }
.avlib-player figure canvas { width: 100%; height: min(340px, 45vw); }
.avlib-player .controls { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; margin: 4px 0; }
.avlib-player .controls input[type=range] { flex: 1 1 160px; min-width: 100px; }
.avlib-player .plots { position: relative; cursor: crosshair; touch-action: pan-y; }
.avlib-player .plots canvas { display: block; width: 100%; }
.avlib-player .cursor { position: absolute; top: 0; bottom: 18px; left: 0; width: 1px; background: currentColor; pointer-events: none; 
  will-change: transform; }
.avlib-player .read { min-height: 1.4em; font-variant-numeric: tabular-nums; }`;
const COLOURS = ["#1f77b4", "#ff7f0e", "#888"];
const LEFT = 46, RIGHT = 8;                             // margins of the plots, pixels
const TEXT_INTERVAL_MS = 120;                           // between updates of the numbers during playback: text layout takes as long as drawing a face
const PANELS = { phonemes: 16, speech: 28, aperture: 110, error: 90, axis: 18 };

// A round step of which three to six fit into `most`.
const roundStep = most => { const p = 10 ** Math.floor(Math.log10(most / 3)); return [5, 2, 1].map(k => k * p).find(s => most / s >= 3) || p; };

// A clip from Python, with typed arrays instead of bytes.
function decodeClip(clip) {
  const faces = clip.faces.map(f => ({ ...f, weights: typedArray(Float32Array, f.weights), targets: typedArray(Int16Array, f.targets) }));
  const tracks = clip.tracks.map(t => ({ ...t, aperture: typedArray(Float32Array, t.aperture), error: typedArray(Float32Array, t.error) }));
  return { ...clip, faces, tracks, template: typedArray(Float32Array, clip.template), sound: typedArray(Uint8Array, clip.sound) };
}

// Writes the vertices of a face at a time in seconds into `vertices`, interpolated linearly between frames.
function pose(face, template, fps, seconds, vertices) {
  const size = template.length, count = face.targets.length / size, last = face.weights.length / count - 1;
  const at = Math.max(0, Math.min(last, seconds * fps)), before = Math.floor(at), after = Math.min(last, before + 1);
  vertices.set(template);
  const weightAt = (frame, k) => face.weights[frame * count + k];
  const weight = k => weightAt(before, k) + (at - before) * (weightAt(after, k) - weightAt(before, k));
  for (let k = 0; k < count; k += 4) {            // four targets at once: reading and writing vertices takes most of the time
    const [a, b, c, d] = [0, 1, 2, 3].map(j => k + j < count ? weight(k + j) : 0);
    const [p, q, r, s] = [0, 1, 2, 3].map(j => face.targets.subarray(Math.min(k + j, count - 1) * size));
    for (let i = 0; i < size; i++) vertices[i] += a * p[i] + b * q[i] + c * r[i] + d * s[i];
  }
  return vertices;
}

// Smallest and largest sample of a 16-bit WAV file (44 bytes of header) in each of `count` parts, in [-1, 1].
function envelope(wav, count) {
  const samples = new Int16Array(wav.buffer, wav.byteOffset + 44, wav.length - 44 >> 1), parts = [];
  for (let k = 0; k < count; k++) {
    let low = 0, high = 0;
    for (let i = Math.floor(k * samples.length / count); i < (k + 1) * samples.length / count; i++) {
      low = Math.min(low, samples[i]); high = Math.max(high, samples[i]);
    }
    parts.push([low / 32768, high / 32768]);
  }
  return parts;
}

function plot(canvas, clip) {
  const width = canvas.clientWidth, errors = clip.tracks.some(t => t.error.length), ink = getComputedStyle(canvas).color;
  const rows = { ...PANELS, phonemes: clip.phonemes.length ? PANELS.phonemes : 0, error: errors ? PANELS.error : 0 };
  const height = Object.values(rows).reduce((a, b) => a + b + 4), scale = devicePixelRatio;
  if (!width) return;
  canvas.style.height = `${height}px`;
  Object.assign(canvas, { width: width * scale, height: height * scale });
  const c = canvas.getContext("2d"), x = s => LEFT + (width - LEFT - RIGHT) * s / clip.seconds;
  c.scale(scale, scale);
  c.font = "10px system-ui, sans-serif";
  const box = (x0, y0, x1, y1, colour, opacity) => {
    Object.assign(c, { globalAlpha: opacity, fillStyle: colour });
    c.fillRect(x0, y0, x1 - x0, y1 - y0);
    c.globalAlpha = 1;
  };
  const write = (text, at, y, align = "center", colour = ink) => { c.fillStyle = colour; c.textAlign = align; c.fillText(text, at, y); };
  for (const [label, begin, end, bilabial] of clip.phonemes) {
    box(x(begin), rows.phonemes, x(end), height - rows.axis, bilabial ? "#d62728" : "#888", bilabial ? 0.15 : 0.04);
    if (x(end) - x(begin) > 0.7 * c.measureText(label).width) write(label, x((begin + end) / 2), 11);
  }
  let top = rows.phonemes + 4;
  envelope(clip.sound, Math.floor(width - LEFT - RIGHT)).forEach(([low, high], k) =>
    box(LEFT + k, top + rows.speech * (1 - high) / 2, LEFT + k + 1, top + rows.speech * (1 - low) / 2 + 0.5, ink, 0.6));
  write("speech", 2, top + rows.speech / 2 + 3, "left");
  top += rows.speech + 4;
  for (const [name, title] of [["aperture", `lip aperture, ${clip.unit}`], ["error", `lip vertex error, ${clip.error_unit}`]]) {
    if (!rows[name]) continue;
    const shown = clip.tracks.filter(t => t[name].length), bottom = top + rows[name];
    const most = 1.25 * Math.max(1e-9, ...shown.map(t => t[name].reduce((a, b) => Math.max(a, b))));
    const y = v => bottom - (bottom - top) * v / most;
    for (let v = 0, step = roundStep(most); v <= most; v += step) {
      box(LEFT, y(v), width - RIGHT, y(v) + 1, ink, 0.12);
      write(+v.toPrecision(6), LEFT - 4, y(v) + 3, "right");
    }
    write(title, LEFT + 4, top + 9, "left");
    let right = width - RIGHT;
    for (const [k, t] of [...clip.tracks.entries()].reverse()) {
      if (!t[name].length) continue;
      c.strokeStyle = COLOURS[k];
      c.lineWidth = 1.5;
      c.beginPath();
      t[name].forEach((v, i) => c.lineTo(x(i / clip.fps), y(v)));
      c.stroke();
      const short = ["left", "right"][k] ?? t.name;
      write(short, right, top + 9, "right", COLOURS[k]);
      right -= c.measureText(short).width + 10;
    }
    top = bottom + 4;
  }
  for (let s = 0, step = roundStep(clip.seconds); s <= clip.seconds; s += step) write(`${+s.toPrecision(6)} s`, x(s), height - 5);
}

export default {
  render({ model, el }) {
    const root = addElement(el, "div", "", { className: "avlib-player", tabIndex: 0 });
    addElement(root, "style", STYLE);
    const title = addElement(root, "div", ""), row = addElement(root, "div", "", { className: "faces" }), view = newView();
    const mesh = model.get("mesh"), [faces, albedo] = [typedArray(Uint32Array, mesh.faces), typedArray(Uint8Array, mesh.albedo)];
    const sides = [0, 1].map(k => {
      const figure = addElement(row, "figure", ""), canvas = addElement(figure, "canvas", ""), name = addElement(figure, "figcaption", "");
      name.style.color = COLOURS[k];
      return { name, face: new Face(canvas, new Mesh(typedArray(Float32Array, mesh.template), faces, albedo), view, () => draw()) };
    });
    const bar = addElement(root, "div", "", { className: "controls" });
    const play = addElement(bar, "button", "▶ play", { title: "space plays and pauses; ← and → step by one frame" });
    const slider = addElement(bar, "input", "", { type: "range", min: 0, step: "any", value: 0, title: "time" });
    const clock = addElement(bar, "span", "");
    const speed = addElement(bar, "select", "", { title: "speed" });
    for (const rate of [1, 0.5, 0.25]) addElement(speed, "option", { 1: "1 ×", 0.5: "½ ×", 0.25: "¼ ×" }[rate], { value: rate });
    const checkbox = (description, change) => {
      const label = addElement(bar, "label", ""), input = addElement(label, "input", "", { type: "checkbox", onchange: () => change(input.checked) });
      label.append(` ${description}`);
    };
    const audio = addElement(root, "audio", "", { preload: "auto" });
    checkbox("repeat", on => { audio.loop = on; });
    checkbox("mouth", on => { view.zoom = on ? 3 : 1; draw(); });
    checkbox("mute", on => { audio.muted = on; });
    const plots = addElement(root, "div", "", { className: "plots" }), canvas = addElement(plots, "canvas", "");
    const cursor = addElement(plots, "div", "", { className: "cursor" }), read = addElement(root, "div", "", { className: "read" });
    let clip, plotWidth = 1, shown = 0, textUpdated = 0, request = 0;        // shown: seconds

    const draw = () => sides.forEach(side => side.face.draw());
    function show(seconds) {            // updates faces, cursor and numbers
      shown = seconds;
      sides.forEach(({ face }, k) => { face.mesh.vertices = pose(clip.faces[k], clip.template, clip.fps, seconds, face.mesh.vertices); });
      draw();
      cursor.style.transform = `translateX(${LEFT + (plotWidth - LEFT - RIGHT) * seconds / clip.seconds}px)`;
      const now = performance.now();
      if (!audio.paused && now < textUpdated + TEXT_INTERVAL_MS) return;
      textUpdated = now;
      const frame = Math.round(seconds * clip.fps);
      const valueAt = (values, digits) => values.length ? values[Math.min(frame, values.length - 1)].toFixed(digits) : "–";
      slider.value = seconds;
      clock.textContent = `${seconds.toFixed(2)} / ${clip.seconds.toFixed(2)} s`;
      const values = (name, digits) => clip.tracks.map((t, k) => [["left", "right"][k] ?? t.name, valueAt(t[name], digits)])
        .filter(([, v]) => v !== "–").map(pair => pair.join(" ")).join(", ");
      read.textContent = `frame ${frame}; lips ${values("aperture", 1)} ${clip.unit}` +
        (values("error", 2) && `; error ${values("error", 2)} ${clip.error_unit}`);
    }
    function follow() {                 // shows the time of the audio element
      show(audio.currentTime);
      request = audio.paused ? 0 : requestAnimationFrame(follow);
    }
    const seek = seconds => {
      audio.currentTime = Math.max(0, Math.min(clip.seconds, seconds));
      if (audio.paused) show(audio.currentTime);
    };
    function clipChanged() {            // keeps the time if the sound is the same
      const before = clip, next = model.get("clip");
      if (!next.faces) return;
      clip = decodeClip(next);
      title.textContent = clip.title;
      for (const [k, { face, name }] of sides.entries()) {
        name.textContent = clip.faces[k].name;
        face.mesh.vertices = new Float32Array(clip.template);
      }
      view.aim = clip.aim;
      slider.max = clip.seconds;
      if (before?.sound.length !== clip.sound.length || before.sound.some((x, i) => x !== clip.sound[i])) {
        audio.pause();
        URL.revokeObjectURL(audio.src);
        audio.src = URL.createObjectURL(new Blob([clip.sound], { type: "audio/wav" }));
        audio.playbackRate = audio.defaultPlaybackRate = speed.value;
        shown = 0;
      }
      fit();
    }
    function fit() {
      plotWidth = canvas.clientWidth;
      plot(canvas, clip);
      show(shown);
    }

    play.onclick = () => { audio.paused ? audio.play() : audio.pause(); };
    audio.onplay = () => { play.textContent = "▮▮ pause"; cancelAnimationFrame(request); follow(); };
    audio.onpause = audio.onended = () => { play.textContent = "▶ play"; };
    slider.oninput = () => seek(+slider.value);
    speed.onchange = () => { audio.playbackRate = audio.defaultPlaybackRate = speed.value; };
    plots.onpointerdown = plots.onpointermove = e => {
      if (e.buttons & 1) seek(clip.seconds * (e.clientX - canvas.getBoundingClientRect().left - LEFT) / (plotWidth - LEFT - RIGHT));
    };
    root.onkeydown = e => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
      if (!step && e.key !== " " || e.target.matches("select, input[type=checkbox]")) return;
      if (step) seek((Math.round(shown * clip.fps) + step) / clip.fps);
      else play.onclick();
      e.preventDefault();
      e.stopPropagation();
    };
    const watch = new ResizeObserver(() => { if (clip) fit(); });
    watch.observe(root);
    model.on("change:clip", clipChanged);
    clipChanged();
    return () => {
      model.off("change:clip", clipChanged);
      cancelAnimationFrame(request);
      audio.pause();
      URL.revokeObjectURL(audio.src);
      watch.disconnect();
      sides.forEach(side => side.face.free());
    };
  },
};
