const FIRST_CHUNK_EXTRA_S = 0.025;  // sound in the first chunk beyond a hop: what resampling holds back, so that every chunk completes a hop
const MARGIN_S = 0.15;              // for computing and transfer: face and recording are this much later than the lookahead and the hop require
const MAX_UNANSWERED_S = 3;         // of sound: beyond it Python is too slow
const WORKLET = `registerProcessor("avlib-recorder", class extends AudioWorkletProcessor {
  constructor({ processorOptions: { size, extra } }) { super(); this.size = size; this.chunk = new Float32Array(size + extra); this.filled = 0; }
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
const workletUrl = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
const median = values => [...values].sort((a, b) => a - b)[values.length >> 1];

export default {
  render({ model, el }) {
    const row = addElement(el, "div", ""), fps = model.get("fps"), delay = model.get("delay") + MARGIN_S;
    row.style.cssText = "display: flex; flex-wrap: wrap; gap: 8px; align-items: center; margin: 4px 0";
    const microphone = addElement(row, "button", "microphone"), recording = addElement(row, "button", "recording");
    const upload = addElement(row, "input", "", { type: "file", accept: "audio/*", title: "a recording of yours" });
    const stop = addElement(row, "button", "stop", { disabled: true });
    const status = addElement(el, "div", `Frames are shown ${delay.toFixed(2)} s after their sound.`);
    status.style.cssText = "min-height: 1.4em; font: 13px system-ui, sans-serif; font-variant-numeric: tabular-nums";
    const canvas = addElement(el, "canvas", "");
    canvas.style.cssText = "width: min(400px, 100%); aspect-ratio: 1";
    const { template, faces, albedo } = model.get("mesh");
    const mesh = new Mesh(typedArray(Float32Array, template), typedArray(Uint32Array, faces), typedArray(Uint8Array, albedo));
    const face = new Face(canvas, mesh);
    let session = null, sessions = 0;

    async function begin(name, connect) {
      finish();
      // seconds: `began` on the audio clock, `sent` and `answered` since then
      const current = session = { name, number: ++sessions, context: new AudioContext(), began: null, sent: 0, answered: 0,
        unsent: [], awaitingAnswer: false, frames: [], arrivalDelays: [], computed: 0 };
      stop.disabled = false;
      try {
        const { context } = current;
        await Promise.all([context.resume(), context.audioWorklet.addModule(workletUrl)]);
        const [size, extra] = [model.get("hop"), FIRST_CHUNK_EXTRA_S].map(seconds => Math.round(seconds * context.sampleRate));
        const node = new AudioWorkletNode(context, "avlib-recorder", { processorOptions: { size, extra } });
        node.connect(context.destination);      // it is silent, but browsers only run nodes that are connected to the destination
        model.send({ kind: "begin", session: current.number, rate: context.sampleRate });
        node.port.onmessage = ({ data: { samples, until } }) => {
          if (session !== current) return;
          current.began ??= until - samples.length / context.sampleRate;
          current.sent += samples.length / context.sampleRate;
          if (current.sent - current.answered > MAX_UNANSWERED_S + delay) return finish("This machine is too slow for live animation.");
          current.unsent.push(samples);
          send(current);
        };
        await connect(current, node);
        requestAnimationFrame(() => show(current));
      } catch (error) { finish(error.message); }
    }

    // One message at a time: sound that arrives while Python is busy is sent and processed together, which is faster.
    function send(current) {
      if (current.awaitingAnswer || !current.unsent.length) return;
      const all = new Float32Array(current.unsent.reduce((sum, part) => sum + part.length, 0));
      current.unsent.reduce((at, part) => { all.set(part, at); return at + part.length; }, 0);
      current.unsent = [];
      current.awaitingAnswer = true;
      model.send({ kind: "sound", session: current.number }, undefined, [all.buffer]);
    }

    function show(current) {
      if (session !== current) return;
      const { frames, context } = current, now = context.currentTime;
      let last = null;
      while (frames.length && frames[0].at + delay <= now) last = frames.shift();
      if (last) {
        mesh.vertices = last.vertices;
        face.draw();
      }
      if (current.arrivalDelays.length) {
        const arrival = median(current.arrivalDelays), behind = Math.max(delay, arrival);
        status.textContent = `${current.name}: the face is ${behind.toFixed(2)} s behind the sound; frames arrive after ${arrival.toFixed(2)} s, ` +
          `${(1000 * current.computed).toFixed(0)} ms of it computing; ${arrival <= delay ? "in time" : `${(arrival - delay).toFixed(2)} s late`}`;
      }
      requestAnimationFrame(() => show(current));
    }

    function finish(message) {
      if (!session) return;
      model.send({ kind: "end", session: session.number });
      for (const track of session.tracks ?? []) track.stop();
      session.context.close();
      session = null;
      stop.disabled = true;
      if (message) status.textContent = message;
    }

    function receive(message, buffers) {
      if (!session || message.session !== session.number) return;
      if (message.kind === "error") return finish(message.text);
      session.awaitingAnswer = false;
      send(session);
      if (!message.count) return;
      const all = typedArray(Float32Array, buffers[0]), size = all.length / message.count, at = n => session.began + n / fps;
      for (let k = 0; k < message.count; k++) session.frames.push({ at: at(message.first + k), vertices: all.subarray(k * size, (k + 1) * size) });
      session.computed = message.computed;
      session.answered = (message.first + message.count) / fps;
      session.arrivalDelays = [...session.arrivalDelays, session.context.currentTime - at(message.first)].slice(-30);
    }

    // The sound is delayed, so that it plays together with the face.
    const play = (name, bytes) => begin(name, async (current, node) => {
      const { context } = current, source = context.createBufferSource(), delayed = context.createDelay(delay + 1);
      source.buffer = await context.decodeAudioData(bytes);
      delayed.delayTime.value = delay;
      source.connect(node);
      source.connect(delayed).connect(context.destination);
      source.onended = () => setTimeout(() => { if (session === current) finish(); }, 1000 * delay + 500);
      source.start();
    });
    recording.onclick = () => play("recording", typedArray(Uint8Array, model.get("recording")).buffer);
    upload.onchange = async () => { if (upload.files[0]) play(upload.files[0].name, await upload.files[0].arrayBuffer()); };
    microphone.onclick = () => begin("microphone", async (current, node) => {
      if (!navigator.mediaDevices) throw Error("Browsers allow a microphone only on localhost or https.");
      const media = await navigator.mediaDevices.getUserMedia({ audio: true });
      current.tracks = media.getTracks();
      current.context.createMediaStreamSource(media).connect(node);
    });
    stop.onclick = () => finish();
    model.on("msg:custom", receive);
    return () => { finish(); model.off("msg:custom", receive); face.free(); };
  },
};
