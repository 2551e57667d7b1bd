// What the page does. serve.py says what its answers hold.

const TRUE_COLOUR = "#f0e442";
const FEW = 12; // test photographs to pick from at a time
const part = (id) => document.getElementById(id);
const start = await (await fetch("/start")).json();
let newest = 0; // of several photographs chosen one after the other, the last is shown
let stream = null; // of the camera
let redrawn = []; // what draws the cards again

// --- choosing a photograph ---------------------------------------------------------------------------------------

part("file").addEventListener("change", (event) => {
  if (event.target.files.length) upload(event.target.files[0]);
  event.target.value = ""; // so that the same file can be chosen again
});

addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", () => document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (event.dataTransfer.files.length) upload(event.dataTransfer.files[0]);
  else complain("what was dropped is not a file; save the photograph first, then drop the file");
});

part("camera").addEventListener("click", async () => {
  part("camera").disabled = true; // a second stream would never be stopped
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: true });
  } catch (error) {
    return complain(`the camera cannot be used: ${error.message}; connect one and allow this page to use it`);
  } finally {
    part("camera").disabled = false;
  }
  part("video").srcObject = stream;
  part("viewfinder").showModal();
});
part("take").addEventListener("click", () => {
  const video = part("video");
  if (!video.videoWidth) return; // the camera has not begun yet
  const [canvas, context] = blank(video.videoWidth, video.videoHeight);
  context.drawImage(video, 0, 0);
  part("viewfinder").close();
  canvas.toBlob((blob) => upload(new File([blob], "camera.jpg")), "image/jpeg", 0.95);
});
part("leave").addEventListener("click", () => part("viewfinder").close());
part("viewfinder").addEventListener("close", () => stream.getTracks().forEach((track) => track.stop()));

if (start.tests.length) {
  part("tests").hidden = false;
  part("count").textContent = start.tests.length.toLocaleString("en");
  part("search").addEventListener("input", offer);
  part("random").addEventListener("click", () => test(start.tests[Math.floor(Math.random() * start.tests.length)]));
  offer();
}
document.querySelector("main").inert = false; // ready to be used

function offer() {
  const wanted = part("search").value.trim().toLowerCase().replaceAll(" ", "_");
  const names = start.tests.filter((name) => name.toLowerCase().includes(wanted)).slice(0, FEW);
  const nothing = Object.assign(document.createElement("li"), { textContent: "No test photograph has this name." });
  part("thumbnails").replaceChildren(...(names.length ? names.map(thumbnail) : [nothing]));
}

function thumbnail(name) {
  const [item, button, image] = ["li", "button", "img"].map((tag) => document.createElement(tag));
  image.src = `/thumbnail?name=${encodeURIComponent(name)}`;
  image.alt = "";
  button.type = "button";
  button.append(image, name);
  button.addEventListener("click", () => test(name));
  item.append(button);
  return item;
}

function upload(file) {
  if (file.size > start.most) {
    newest++;
    return complain(`${file.name}: photograph has more than ${start.most >> 20} MB; choose a smaller one`);
  }
  return ask(file.name, "/segment", { method: "POST", body: file });
}

function test(name) {
  return ask(name, `/test?name=${encodeURIComponent(name)}`);
}

async function ask(name, address, request) {
  const mine = ++newest;
  part("wrong").textContent = "";
  part("said").textContent = `The networks look at ${name} …`;
  let found = null;
  let problem = "";
  try {
    const answer = await fetch(address, request);
    if (answer.ok) found = await prepared(name, await answer.json());
    else problem = `${name}: ${await answer.text()}`;
  } catch {
    problem = "the server does not answer; is it still running? Start it again: make demo";
  }
  if (mine !== newest) return;
  if (found) show(found);
  else complain(problem);
}

function complain(line) {
  part("said").textContent = "";
  part("wrong").textContent = line;
  part("wrong").scrollIntoView({ block: "nearest" });
}

// --- drawing -----------------------------------------------------------------------------------------------------

async function prepared(name, answer) {
  const photo = new Image();
  photo.src = answer.photo;
  await photo.decode();
  const truth = answer.truth && silhouette(bytes(answer.truth), 0, ...answer.shown);
  return { ...answer, name, photo, truth, levels: answer.levels.map(bytes) };
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

function blank(width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  return [canvas, canvas.getContext("2d")];
}

// White where the level is above this index: there the probability reaches the threshold with this index.
function silhouette(levels, index, width, height) {
  const [canvas, context] = blank(width, height);
  const image = context.createImageData(width, height);
  new Uint32Array(image.data.buffer).set(Uint32Array.from(levels, (level) => (level > index ? 0xffffffff : 0)));
  context.putImageData(image, 0, 0);
  return canvas;
}

// A line of this width around a silhouette.
function ring(context, shape, width, colour) {
  const [canvas, scratch] = blank(shape.width, shape.height);
  for (let turn = 0; turn < 2 * Math.PI; turn += Math.PI / 8) {
    scratch.drawImage(shape, width * Math.cos(turn), width * Math.sin(turn));
  }
  scratch.globalCompositeOperation = "destination-out";
  scratch.drawImage(shape, 0, 0);
  context.drawImage(coloured(canvas, colour), 0, 0);
}

function coloured(shape, colour) {
  const [canvas, context] = blank(shape.width, shape.height);
  context.drawImage(shape, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = colour;
  context.fillRect(0, 0, canvas.width, canvas.height);
  return canvas;
}

function sized(canvas, [width, height]) {
  Object.assign(canvas, { width, height });
  return canvas.getContext("2d");
}

function drawMask(canvas, shape) {
  const context = sized(canvas, [shape.width, shape.height]);
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(shape, 0, 0);
}

function drawOverlay(canvas, found, shape, colour) {
  const context = sized(canvas, found.shown);
  const width = Math.max(2, Math.max(...found.shown) / 170);
  context.drawImage(found.photo, 0, 0);
  context.globalAlpha = start.tint / 255;
  context.drawImage(coloured(shape, colour), 0, 0);
  context.globalAlpha = 1;
  ring(context, shape, 1.5 * width, "white");
  ring(context, shape, width, colour);
  if (found.truth && part("outline").checked) {
    ring(context, found.truth, width, "black");
    ring(context, found.truth, width / 2, TRUE_COLOUR);
  }
}

function drawCutout(canvas, found, shape) {
  const context = sized(canvas, found.shown);
  context.drawImage(found.photo, 0, 0);
  context.globalCompositeOperation = "destination-in";
  context.drawImage(shape, 0, 0);
}

// --- the cards ---------------------------------------------------------------------------------------------------

part("outline").addEventListener("change", () => redrawn.forEach((draw) => draw()));

function show(found) {
  const [own, shown] = [found.own, found.shown].map(([width, height]) => `${width} × ${height} pixels`);
  part("said").textContent = "";
  part("name").textContent = found.name;
  part("facts").textContent = [
    own,
    own === shown ? "" : `, shown and saved at ${shown}`,
    found.truth ? `. The Dice is that of the photograph's own size; ${start.border}.` : "",
  ].join("");
  part("outlined").hidden = !found.truth;
  redrawn = [];
  part("cards").replaceChildren(
    photographCard(found),
    ...start.networks.map((network, place) => networkCard(found, network, place)),
  );
  part("results").hidden = false;
  part("results").scrollIntoView();
}

function card(id) {
  const element = part(id).content.firstElementChild.cloneNode(true);
  return [element, (name) => element.querySelector(`.${name}`)];
}

function photographCard(found) {
  const [element, inside] = card("photograph-card");
  sized(inside("photo"), found.shown).drawImage(found.photo, 0, 0);
  if (found.truth) {
    inside("truth").hidden = false;
    drawMask(inside("truth").querySelector("canvas"), found.truth);
  }
  return element;
}

function networkCard(found, network, place) {
  const [element, inside] = card("network-card");
  const slider = inside("slider");
  const index = () => Math.round(slider.value * 100 - start.thresholds[0] * 100); // they are 0.01 apart
  const draw = () => {
    const shape = silhouette(found.levels[place], index(), ...found.shown);
    const threshold = start.thresholds[index()].toFixed(2);
    inside("value").textContent = threshold;
    inside("dice").textContent = found.dice ? `Dice ${found.dice[place][index()].toFixed(3)}` : "";
    drawOverlay(inside("overlay"), found, shape, network.colour);
    drawMask(inside("mask"), shape);
    drawCutout(inside("cutout"), found, shape);
  };
  inside("title").textContent = network.title;
  inside("swatch").style.setProperty("--colour", network.colour);
  inside("about").textContent = network.about;
  inside("overlay").ariaLabel = `The photograph with what ${network.title} finds, outlined`;
  inside("mask").ariaLabel = `Mask by ${network.title}: white where the pet is`;
  inside("cutout").ariaLabel = `The pet alone, cut out by ${network.title}`;
  slider.ariaLabel = `Threshold of ${network.title}`;
  Object.assign(slider, { min: start.thresholds[0], max: start.thresholds.at(-1), step: 0.01 });
  slider.value = network.threshold;
  inside("reset").textContent = `Its own: ${network.threshold.toFixed(2)}`;
  inside("reset").addEventListener("click", () => {
    slider.value = network.threshold;
    draw();
  });
  slider.addEventListener("input", draw);
  for (const kind of ["mask", "cutout"]) {
    const button = inside(`save-${kind}`);
    button.ariaLabel = `${button.textContent} by ${network.title}`;
    button.addEventListener("click", () => {
      save(inside(kind), `${found.name.replace(/\.\w+$/, "")}_${network.title}_${kind}.png`);
    });
  }
  redrawn.push(draw);
  draw();
  return element;
}

function save(canvas, name) {
  canvas.toBlob((blob) => {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }, "image/png");
}
