// Draws a mesh whose vertices change every frame, pixel by pixel on the CPU. WebGL is several times slower without a graphics card, and
// a page has a limited number of WebGL contexts. This file comes before the module of each widget that shows faces.
const SKIN = [255, 218, 196], LIGHT = [-0.25, 0.34, 0.91];
const SHADES = Uint32Array.from({ length: 256 }, (_, k) =>       // grey level -> pixel in the byte order of ImageData
  SKIN.reduce((pixel, full, channel) => pixel + Math.round(full * k / 255) * 256 ** channel, 255 * 256 ** 3));
const MAX_SIDE = 512;   // pixels: a slow core can draw two pictures of this size in time

// The view of a face, which several faces may share: angles in radians; zoom 1 shows the whole face, larger ones the point `aim`.
const newView = () => ({ yaw: 0, pitch: 0, zoom: 1, aim: null });

class Mesh {
  // template: Float32Array (V * 3), faces: Uint32Array (F * 3), albedo: Uint8Array (V)
  constructor(template, faces, albedo) {
    Object.assign(this, { faces, albedo, vertices: template });
    this.projected = new Float32Array(4 * albedo.length);       // column, row, nearness and grey level of each vertex
    this.normals = new Float32Array(template.length);
    const low = [Infinity, Infinity, Infinity], high = low.map(x => -x);
    template.forEach((x, i) => { low[i % 3] = Math.min(low[i % 3], x); high[i % 3] = Math.max(high[i % 3], x); });
    this.middle = low.map((x, k) => (x + high[k]) / 2);
    this.reach = Math.max(high[0] - low[0], high[1] - low[1]) / 2;
  }

  // Area-weighted normals, not of unit length; the winding of the faces sets their side.
  updateNormals() {
    const { faces: f, normals: n, vertices: v } = this;
    n.fill(0);
    for (let i = 0; i < f.length; i += 3) {
      const a = 3 * f[i], b = 3 * f[i + 1], c = 3 * f[i + 2];
      const px = v[b] - v[a], py = v[b + 1] - v[a + 1], pz = v[b + 2] - v[a + 2];
      const qx = v[c] - v[a], qy = v[c + 1] - v[a + 1], qz = v[c + 2] - v[a + 2];
      const x = py * qz - pz * qy, y = pz * qx - px * qz, z = px * qy - py * qx;
      n[a] += x; n[a + 1] += y; n[a + 2] += z;
      n[b] += x; n[b + 1] += y; n[b + 2] += z;
      n[c] += x; n[c + 1] += y; n[c + 2] += z;
    }
  }

  // Projects the vertices onto a picture of that size and shades them. The light moves with the viewer; both sides of the mesh are lit.
  project(width, height, { yaw, pitch, zoom, aim }) {
    const { vertices: v, normals: n, projected, albedo } = this, [ox, oy, oz] = zoom > 1 && aim ? aim : this.middle;
    const sy = Math.sin(yaw), cy = Math.cos(yaw), sp = Math.sin(pitch), cp = Math.cos(pitch);
    const size = zoom * Math.min(width, height) / 2.16 / this.reach, left = (width - 1) / 2, top = (height - 1) / 2;
    const across = [cy, 0, sy], up = [sp * sy, cp, -sp * cy], near = [-cp * sy, sp, cp * cy];
    const along = (way, x, y, z) => way[0] * x + way[1] * y + way[2] * z;
    for (let i = 0, j = 0; i < v.length; i += 3, j += 4) {
      const x = v[i] - ox, y = v[i + 1] - oy, z = v[i + 2] - oz;
      projected[j] = left + size * along(across, x, y, z);
      projected[j + 1] = top - size * along(up, x, y, z);
      projected[j + 2] = along(near, x, y, z);
      const a = n[i], b = n[i + 1], d = n[i + 2], c = along(near, a, b, d);
      const towards = (along(across, a, b, d) * LIGHT[0] + along(up, a, b, d) * LIGHT[1] + c * LIGHT[2]) /
        (Math.sqrt(a * a + b * b + d * d) || 1);
      projected[j + 3] = Math.min(255, albedo[i / 3] * (0.45 + 0.85 * Math.max(0, c < 0 ? -towards : towards)));
    }
  }

  // Draws into pixels (height * width), which are cleared first; depth: an array of the same size.
  draw(pixels, depth, width, height, view) {
    this.updateNormals();
    this.project(width, height, view);
    pixels.fill(0);
    depth.fill(-Infinity);
    const { faces: f, projected: s } = this;
    for (let i = 0; i < f.length; i += 3) {
      const a = 4 * f[i];
      let b = 4 * f[i + 1], c = 4 * f[i + 2];
      const ax = s[a], ay = s[a + 1];
      let area = (s[b] - ax) * (s[c + 1] - ay) - (s[b + 1] - ay) * (s[c] - ax);
      if (area < 0) { const d = b; b = c; c = d; area = -area; }
      if (!(area > 1e-9)) continue;
      const bx = s[b] - ax, by = s[b + 1] - ay, cx = s[c] - ax, cy = s[c + 1] - ay, near = s[a + 2], grey = s[a + 3];
      const left = Math.max(0, Math.ceil(ax + (bx < cx ? Math.min(0, bx) : Math.min(0, cx))));
      const right = Math.min(width - 1, Math.floor(ax + (bx > cx ? Math.max(0, bx) : Math.max(0, cx))));
      const top = Math.max(0, Math.ceil(ay + (by < cy ? Math.min(0, by) : Math.min(0, cy))));
      const bottom = Math.min(height - 1, Math.floor(ay + (by > cy ? Math.max(0, by) : Math.max(0, cy))));
      const nearB = (s[b + 2] - near) / area, nearC = (s[c + 2] - near) / area;
      const greyB = (s[b + 3] - grey) / area, greyC = (s[c + 3] - grey) / area;
      for (let y = top; y <= bottom; y++) {
        let forB = (left - ax) * cy - (y - ay) * cx, forC = (y - ay) * bx - (left - ax) * by;       // twice the areas opposite to b and c
        for (let x = left, at = y * width + left; x <= right; x++, at++, forB += cy, forC -= by) {
          if (forB < 0 || forC < 0 || forB + forC > area) continue;
          const z = near + nearB * forB + nearC * forC;
          if (z <= depth[at]) continue;
          depth[at] = z;
          pixels[at] = SHADES[grey + greyB * forB + greyC * forC | 0];
        }
      }
    }
  }
}

// A canvas that shows a mesh. Dragging turns the view, a double click resets it; both call redraw().
class Face {
  constructor(canvas, mesh, view = newView(), redraw = () => this.draw()) {
    Object.assign(this, { canvas, mesh, view, context: canvas.getContext("2d") });
    canvas.style.cssText += "cursor: grab; touch-action: none";
    canvas.title = "drag to turn, double click to reset";
    canvas.onpointerdown = e => canvas.setPointerCapture(e.pointerId);
    canvas.onpointermove = e => {
      if (!e.buttons) return;
      view.yaw += e.movementX / 120;
      view.pitch = Math.max(-1.5, Math.min(1.5, view.pitch + e.movementY / 120));
      redraw();
    };
    canvas.ondblclick = () => { view.yaw = view.pitch = 0; redraw(); };
    this.watch = new ResizeObserver(() => this.draw());         // also called when a hidden cell is shown again
    this.watch.observe(canvas);
  }

  draw() {
    const { canvas, context } = this, sides = [canvas.clientWidth, canvas.clientHeight];
    if (!Math.min(...sides)) return;
    const [width, height] = sides.map(side => Math.round(side * Math.min(devicePixelRatio, MAX_SIDE / Math.max(...sides))));
    if (canvas.width !== width || canvas.height !== height || !this.image) {
      Object.assign(canvas, { width, height });
      this.image = context.createImageData(width, height);
      this.depth = new Float32Array(width * height);
    }
    this.mesh.draw(new Uint32Array(this.image.data.buffer), this.depth, width, height, this.view);
    context.putImageData(this.image, 0, 0);
  }

  free() { this.watch.disconnect(); }
}
