// The page: what sealed.mjs verifies, as a picture. Each step lights up when it has passed, and so does each segment.
import { fromFiles, Trust, verify } from "./sealed.mjs";

const byId = (id) => document.getElementById(id);
const STEPS = { signature: "signature", manifest: "manifest", files: "files-listed", policy: "policy", ciphertext: "ciphertext", plaintext: "plaintext" };
const MOST_BARS = 400; // rectangles for one file: of a large one, each stands for several segments

let running = Promise.resolve();

/** Names within the artifact: what lies in the folder that has a sealed.sig. */
function withinArtifact(found) {
  const [signature] = [...found.keys()].filter((path) => /(^|\/)sealed\.sig$/.test(path)).sort((a, b) => a.length - b.length);
  const root = (signature ?? "").slice(0, -"sealed.sig".length);
  return new Map([...found].filter(([path]) => path.startsWith(root)).map(([path, file]) => [path.slice(root.length), file]));
}

function light(step, how) {
  byId(STEPS[step]).className = how;
}

function tell(text, how = "") {
  byId("told").textContent = text;
  byId("told").className = how;
}

/** Draw a file's segments; return what colours the one at a place. */
function drawn(file) {
  const row = document.createElement("div"), plot = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const count = Math.min(file.segments.length, MOST_BARS), width = 1000 / count, gap = Math.min(2, width / 5);
  plot.setAttribute("viewBox", "0 0 1000 20");
  plot.setAttribute("preserveAspectRatio", "none");
  plot.setAttribute("role", "img");
  plot.setAttribute("aria-label", `${file.segments.length} segments of ${file.path}`);
  const bars = Array.from({ length: count }, (_, index) => {
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    Object.entries({ x: index * width, y: 0, width: width - gap, height: 20 }).forEach(([name, value]) => bar.setAttribute(name, value));
    plot.append(bar);
    return bar;
  });
  row.append(`${file.path}, ${file.size.toLocaleString("en")} bytes`, plot);
  byId("files").append(row);
  return (index, how) => bars[Math.floor((index * count) / file.segments.length)].setAttribute("class", how);
}

/** Do something with each file, and colour its segments as they pass; the one after the last that did is where it failed. */
async function eachFile(artifact, bars, how, work) {
  for (const file of artifact.manifest.files) {
    let at = 0;
    try {
      await work(file.path, (index) => { bars.get(file)(index, how); at = index + 1; });
    } catch (error) {
      bars.get(file)(Math.min(at, file.segments.length - 1), "bad");
      throw error;
    }
  }
}

async function show(found) {
  Object.keys(STEPS).forEach((step) => light(step, ""));
  byId("files").replaceChildren();
  tell("Verifying…");
  const steps = Object.keys(STEPS), passed = (step) => light(steps.shift() && step, "good");
  try {
    const trust = await Trust.of([byId("pem").value]);
    const artifact = await verify(fromFiles(withinArtifact(found)), trust, {}, passed);
    const bars = new Map(artifact.manifest.files.map((file) => [file, drawn(file)]));
    await eachFile(artifact, bars, "good", (path, each) => artifact.check(path, each));
    passed("ciphertext");
    const { name, version, serial } = artifact.manifest, typed = byId("identity").value;
    // A line of text keeps no line ends: in a whole identity.txt that was pasted, the comment runs into the key.
    const identity = (typed.match(/AGE-SECRET-KEY-1[0-9A-Z]{58}/g) ?? [typed]).join("\n");
    if (identity) {
      await artifact.unlock({ identity });
      await eachFile(artifact, bars, "open", (path, each) => artifact.read(path, each));
      passed("plaintext");
    }
    tell(`${name}:${version}, serial ${serial}: all of it is what was signed${identity ? ", and it opens" : ""}.`, "good");
  } catch (error) {
    light(steps[0], "bad");
    tell(`${error.name}${error.exitCode ? ` (exit code ${error.exitCode})` : ""}: ${error.message}`, "bad");
  }
}

/** All files below what was dropped, by their paths. */
async function dropped(entries, found = new Map()) {
  for (const entry of entries) {
    if (entry.isFile) found.set(entry.fullPath.slice(1), await new Promise((done, failed) => entry.file(done, failed)));
    else {
      const reader = entry.createReader(), next = () => new Promise((done, failed) => reader.readEntries(done, failed));
      for (let some = await next(); some.length; some = await next()) await dropped(some, found); // a hundred at a time
    }
  }
  return found;
}

const start = (finding) => { running = running.then(async () => show(await finding)).catch((error) => tell(String(error), "bad")); };
byId("folder").addEventListener("change", ({ target }) => {
  start(new Map([...target.files].map((file) => [file.webkitRelativePath, file])));
  target.value = ""; // the same folder can be chosen again
});
byId("keys").addEventListener("submit", (event) => event.preventDefault());
const drop = byId("drop");
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragenter" || kind === "dragover");
  });
}
drop.addEventListener("drop", ({ dataTransfer }) => start(dropped([...dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean))));
