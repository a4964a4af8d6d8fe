export default {
  render({ model, el }) {
    const canvas = addElement(el, "canvas", "");
    canvas.style.cssText = `width: min(${model.get("side")}px, 100%); aspect-ratio: 1`;
    const { template, faces, albedo } = model.get("mesh");
    const mesh = new Mesh(typedArray(Float32Array, template), typedArray(Uint32Array, faces), typedArray(Uint8Array, albedo));
    const face = new Face(canvas, mesh);
    let due = 0;            // vertices that come faster than pictures are drawn replace each other
    const move = () => {
      if (!model.get("vertices").byteLength || due) return;
      due = requestAnimationFrame(() => {
        due = 0;
        mesh.vertices = typedArray(Float32Array, model.get("vertices"));
        face.draw();
      });
    };
    model.on("change:vertices", move);
    move();
    return () => { cancelAnimationFrame(due); face.free(); };
  },
};
