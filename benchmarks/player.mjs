// Speed of the player in JupyterLab: node benchmarks/player.mjs [VERTICES] [COMPONENTS] [SECONDS]
// Run it in a folder with node_modules of `npm install puppeteer-core`. PYTHON and CHROMIUM name the programs if they are not python and
// /usr/bin/chromium. Plays two spheres, each with so many vertices and components, at 25 frames a second.
import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createRequire } from "node:module";

const puppeteer = createRequire(path.join(process.cwd(), "x.js"))("puppeteer-core");
const [vertices = 5023, components = 64, seconds = 10] = process.argv.slice(2).map(Number);
const root = path.dirname(path.dirname(new URL(import.meta.url).pathname)), port = 8900 + process.pid % 90, token = "benchmark";
const SETUP = `
import io
import numpy as np, soundfile
from scipy.spatial import ConvexHull
from avlib.widgets.browser_data import as_bytes, mesh_bytes
from avlib.widgets.player import Player
import torch
V, K, S = ${vertices}, ${components}, ${seconds}
draw, k = np.random.default_rng(0), np.arange(V) + 0.5
around, up = np.pi * (1 + 5 ** 0.5) * k, 1 - 2 * k / V
rest = np.stack([np.cos(around) * np.sqrt(1 - up ** 2), up, np.sin(around) * np.sqrt(1 - up ** 2)], 1)
faces = ConvexHull(rest).simplices
inwards = np.einsum("fi,fi->f", np.cross(rest[faces[:, 1]] - rest[faces[:, 0]], rest[faces[:, 2]] - rest[faces[:, 0]]), rest[faces[:, 0]]) < 0
faces[inwards] = faces[inwards][:, ::-1]
def clip(title):
    sound = io.BytesIO()
    soundfile.write(sound, 0.1 * draw.standard_normal(16000 * S), 16000, "PCM_16", format="WAV")
    face = lambda: {"name": "sphere", "weights": as_bytes(1e-6 * draw.standard_normal((25 * S, K)), "<f4"),
                    "targets": as_bytes(draw.integers(-9000, 9000, (K, V, 3)), "<i2")}
    track = {"name": "sphere", "aperture": as_bytes(draw.random(25 * S), "<f4"), "error": as_bytes(draw.random(25 * S), "<f4")}
    return {"title": title, "fps": 25, "seconds": S, "sound": sound.getvalue(), "template": as_bytes(rest, "<f4"), "aim": [0, 0, 0],
            "faces": [face(), face()], "tracks": [track, track, track], "unit": "mm", "error_unit": "1", "phonemes": []}
player, others = Player(mesh=mesh_bytes(torch.tensor(rest), torch.tensor(faces), torch.full((V,), 0.7)), clip=clip("0")), [clip(str(n)) for n in range(1, 6)]
print("mesh", rest.shape, faces.shape, sum(len(f[k]) for f in others[0]["faces"] for k in ("weights", "targets")) + len(others[0]["sound"]), "bytes for each clip")`;

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "player-"));
const cells = [SETUP, "player", "player.clip = others.pop()"].map((source, k) =>
  ({ cell_type: "code", id: `c${k}`, metadata: {}, execution_count: null, outputs: [], source }));
fs.writeFileSync(path.join(folder, "x.ipynb"), JSON.stringify({ cells, nbformat: 4, nbformat_minor: 5,
  metadata: { kernelspec: { name: "python3", display_name: "Python 3", language: "python" } } }));
const lab = spawn(process.env.PYTHON ?? "python", ["-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser", `--port=${port}`,
  "--ServerApp.port_retries=0", `--ServerApp.token=${token}`, `--ServerApp.root_dir=${folder}`],
  { env: { ...process.env, PYTHONPATH: root }, stdio: "ignore" });
const browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, protocolTimeout: 600000,
  args: ["--no-sandbox", "--disable-gpu"], defaultViewport: { width: 1400, height: 1100 } });
try {
  const page = await browser.newPage(), url = `http://127.0.0.1:${port}/lab/tree/x.ipynb?token=${token}`;
  for (let tries = 0; !(await page.goto(url).catch(() => null)); tries++) {
    if (tries > 60) throw new Error("JupyterLab did not answer within 30 s");
    await new Promise(done => setTimeout(done, 500));
  }
  const report = await page.evaluate(async seconds => {
    const sleep = s => new Promise(done => setTimeout(done, 1000 * s)), until = async f => { while (!f()) await sleep(0.01); };
    const notebook = () => window.jupyterapp?.shell.currentWidget, find = selector => document.querySelector(`.avlib-player ${selector}`);
    await until(() => notebook()?.sessionContext?.session?.kernel?.status === "idle" && notebook().content.widgets.length);
    const pictures = [], put = CanvasRenderingContext2D.prototype.putImageData;
    CanvasRenderingContext2D.prototype.putImageData = function (...values) {
      put.apply(this, values);
      queueMicrotask(() => {            // after the player has updated; its cursor, with margins of 46 and 8 pixels, gives the time shown
        const share = (parseFloat(find(".cursor").style.transform.slice(11)) - 46) / (find(".plots canvas").clientWidth - 54);
        pictures.push([performance.now() / 1000, find("audio").currentTime, share * seconds]);
      });
    };
    const run = async n => { notebook().content.activeCellIndex = n; await window.jupyterapp.commands.execute("notebook:run-cell"); };
    await run(0);
    const setup = document.querySelector(".jp-OutputArea-output").innerText;
    let began = performance.now();
    run(1);
    await until(() => pictures.length >= 2);
    const first = (performance.now() - began) / 1000, next = [];
    for (let n = 1; n <= 4; n++) {
      await sleep(1);
      pictures.length = 0;
      began = performance.now();
      await run(2);
      await until(() => pictures.length >= 2 && find("audio").readyState === 4);
      next.push((performance.now() - began) / 1000);
    }
    await sleep(1);
    const audio = find("audio");
    audio.muted = true;
    find("button").click();
    await until(() => audio.currentTime > 0.5);
    pictures.length = 0;
    await sleep(seconds - 1.5);
    const drawn = pictures.filter((_, k) => k % 2), [a, b] = [drawn[0], drawn.at(-1)], gaps = drawn.slice(1).map((p, k) => p[0] - drawn[k][0]);
    const away = drawn.map(([, sound, shown]) => Math.abs(sound - shown)).sort((x, y) => x - y);
    const ms = x => `${(1000 * x).toFixed(0)} ms`;
    return [setup, `first shown ${ms(first)} after its cell ran; another clip ready after ${next.map(ms).join(", ")}`,
      `canvas ${find("canvas").width} x ${find("canvas").height}; both faces drawn ${((drawn.length - 1) / (b[0] - a[0])).toFixed(1)} times a second, ` +
      `longest gap ${ms(Math.max(...gaps))}`,
      `sound went ${(b[1] - a[1]).toFixed(3)} s in ${(b[0] - a[0]).toFixed(3)} s; what is shown is at most ${ms(away.at(-1))} off the sound's clock once drawn`];
  }, seconds);
  console.log(report.join("\n"));
} finally {
  await browser.close();
  lab.kill("SIGINT");
  lab.kill("SIGTERM");
  fs.rmSync(folder, { recursive: true });
}
