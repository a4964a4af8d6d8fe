export default {
  render({ model, el }) {
    const canvas = addElement(el, "canvas", "");
    canvas.style.cssText = `width: min(${model.get("side")}px, 100%); aspect-ratio: 1`;
    const { template, faces, albedo } = model.get("mesh");
    const mesh = new Mesh(typedArray(Float32Array, template), typedArray(Uint32Array, faces), typedArray(Uint8Array, albedo));
    const face = new Face(canvas, mesh);
    let request = 0;        // vertices that arrive faster than the screen refreshes replace each other
    const move = () => {
      if (!model.get("vertices").byteLength || request) return;
      request = requestAnimationFrame(() => {
        request = 0;
        mesh.vertices = typedArray(Float32Array, model.get("vertices"));
        face.draw();
      });
    };
    model.on("change:vertices", move);
    move();
    return () => { cancelAnimationFrame(request); face.free(); };
  },
};
