const MORE_S = 0.025;           // of sound in the first chunk, beside a hop: what resampling holds back, so that every chunk completes a hop
const SLACK_S = 0.15;           // for computing and the way: the face, and a recording's sound, come that much after what Python waits for
const MOST_S = 3;               // of sound without an answer: Python does not keep up
const TAP = `registerProcessor("avlib-tap", class extends AudioWorkletProcessor {
  constructor({ processorOptions: { size, more } }) { super(); this.size = size; this.chunk = new Float32Array(size + more); this.filled = 0; }
  process([channels]) {
    const length = channels.length ? channels[0].length : 128;
    for (let i = 0; i < length; i++) {
      let sum = 0;
      for (const channel of channels) sum += channel[i] / channels.length;
      this.chunk[this.filled++] = sum;
      if (this.filled < this.chunk.length) continue;
      this.port.postMessage({ samples: this.chunk, until: (currentFrame + i + 1) / sampleRate });
      this.chunk = new Float32Array(this.size);
      this.filled = 0;
    }
    return true;
  }
});`;
const tap = URL.createObjectURL(new Blob([TAP], { type: "text/javascript" }));
const middle = values => [...values].sort((a, b) => a - b)[values.length >> 1];

export default {
  render({ model, el }) {
    const row = text(el, "div", ""), fps = model.get("fps"), delay = model.get("delay") + SLACK_S;
    row.style.cssText = "display: flex; flex-wrap: wrap; gap: 8px; align-items: center; margin: 4px 0";
    const microphone = text(row, "button", "microphone"), recording = text(row, "button", "recording");
    const own = text(row, "input", "", { type: "file", accept: "audio/*", title: "a recording of your own" });
    const stop = text(row, "button", "stop", { disabled: true });
    const told = text(el, "div", `Frames come ${delay.toFixed(2)} s after their sound.`);
    told.style.cssText = "min-height: 1.4em; font: 13px system-ui, sans-serif; font-variant-numeric: tabular-nums";
    const canvas = text(el, "canvas", "");
    canvas.style.cssText = "width: min(400px, 100%); aspect-ratio: 1";
    const { template, faces, albedo } = model.get("mesh");
    const mesh = new Mesh(typed(Float32Array, template), typed(Uint32Array, faces), typed(Uint8Array, albedo)), face = new Face(canvas, mesh);
    let session = null, sessions = 0;

    async function begin(name, connect) {
      finish();
      const mine = session = { name, number: ++sessions, context: new AudioContext(), began: null, sent: 0, answered: 0,
        held: [], asked: false, waiting: [], arrived: [], computed: 0 };
      stop.disabled = false;
      try {
        const { context } = mine;
        await Promise.all([context.resume(), context.audioWorklet.addModule(tap)]);
        const [size, more] = [model.get("hop"), MORE_S].map(seconds => Math.round(seconds * context.sampleRate));
        const node = new AudioWorkletNode(context, "avlib-tap", { processorOptions: { size, more } });
        node.connect(context.destination);      // it says nothing, but what leads nowhere is not run
        model.send({ kind: "begin", session: mine.number, rate: context.sampleRate });
        node.port.onmessage = ({ data: { samples, until } }) => {
          if (session !== mine) return;
          mine.began ??= until - samples.length / context.sampleRate;
          mine.sent += samples.length / context.sampleRate;
          if (mine.sent - mine.answered > MOST_S + delay) return finish("This machine does not keep up.");
          mine.held.push(samples);
          ask(mine);
        };
        await connect(mine, node);
        requestAnimationFrame(() => show(mine));
      } catch (error) { finish(error.message); }
    }

    // one question at a time: what comes while Python is busy goes together, and faster
    function ask(mine) {
      if (mine.asked || !mine.held.length) return;
      const all = new Float32Array(mine.held.reduce((sum, part) => sum + part.length, 0));
      mine.held.reduce((at, part) => { all.set(part, at); return at + part.length; }, 0);
      mine.held = [];
      mine.asked = true;
      model.send({ kind: "sound", session: mine.number }, undefined, [all.buffer]);
    }

    function show(mine) {
      if (session !== mine) return;
      const { waiting, context } = mine, now = context.currentTime;
      let last = null;
      while (waiting.length && waiting[0].at + delay <= now) last = waiting.shift();
      if (last) {
        mesh.vertices = last.vertices;
        face.draw();
      }
      if (mine.arrived.length) {
        const late = middle(mine.arrived), shown = Math.max(delay, late);
        told.textContent = `${mine.name}: the face is ${shown.toFixed(2)} s behind; frames are there after ${late.toFixed(2)} s, ` +
          `${(1000 * mine.computed).toFixed(0)} ms of it computing; ${late <= delay ? "keeps up" : `${(late - delay).toFixed(2)} s late`}`;
      }
      requestAnimationFrame(() => show(mine));
    }

    function finish(words) {
      if (!session) return;
      model.send({ kind: "end", session: session.number });
      for (const track of session.tracks ?? []) track.stop();
      session.context.close();
      session = null;
      stop.disabled = true;
      if (words) told.textContent = words;
    }

    function answer(message, buffers) {
      if (!session || message.session !== session.number) return;
      if (message.kind === "fault") return finish(message.text);
      session.asked = false;
      ask(session);
      if (!message.count) return;
      const all = typed(Float32Array, buffers[0]), size = all.length / message.count, at = n => session.began + n / fps;
      for (let k = 0; k < message.count; k++) session.waiting.push({ at: at(message.first + k), vertices: all.subarray(k * size, (k + 1) * size) });
      session.computed = message.computed;
      session.answered = (message.first + message.count) / fps;
      session.arrived = [...session.arrived, session.context.currentTime - at(message.first)].slice(-30);
    }

    // the sound is heard when the face says it
    const play = (name, bytes) => begin(name, async (mine, node) => {
      const { context } = mine, source = context.createBufferSource(), later = context.createDelay(delay + 1);
      source.buffer = await context.decodeAudioData(bytes);
      later.delayTime.value = delay;
      source.connect(node);
      source.connect(later).connect(context.destination);
      source.onended = () => setTimeout(() => { if (session === mine) finish(); }, 1000 * delay + 500);
      source.start();
    });
    recording.onclick = () => play("recording", typed(Uint8Array, model.get("recording")).buffer);
    own.onchange = async () => { if (own.files[0]) play(own.files[0].name, await own.files[0].arrayBuffer()); };
    microphone.onclick = () => begin("microphone", async (mine, node) => {
      if (!navigator.mediaDevices) throw Error("The browser gives a microphone to pages of localhost or https alone.");
      const heard = await navigator.mediaDevices.getUserMedia({ audio: true });
      mine.tracks = heard.getTracks();
      mine.context.createMediaStreamSource(heard).connect(node);
    });
    stop.onclick = () => finish();
    model.on("msg:custom", answer);
    return () => { finish(); model.off("msg:custom", answer); face.free(); };
  },
};
