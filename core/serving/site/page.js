"use strict";

const at = (id) => document.getElementById(id);
let about = null;
let pictures = [];
let chosen = -1;
let asking = 0;

const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

async function begin() {
  about = await (await fetch("/about")).json();
  const parts = [count(about.images, "picture", "pictures")];
  if (about.identities) parts.push(count(about.identities, "person", "people"));
  if (about.cameras.length) parts.push(count(about.cameras.length, "camera", "cameras"));
  parts.push(`network ${about.network}`);
  const threshold = about.threshold;
  parts.push(threshold
    ? `threshold ${threshold.value.toFixed(3)}: ${+(100 * threshold.far).toPrecision(3)}% of searches for somebody absent pass it`
    : "no threshold: calibrate the model to be told when it is nobody");
  at("about").textContent = parts.join(" · ");
  for (const name of about.cameras)
    for (const id of ["camera", "not_camera"]) at(id).append(new Option(name, name));
  for (const id of ["camera", "not_camera"]) at(id).closest("label").hidden = about.cameras.length < 2;
  at("accepted").closest("label").hidden = !threshold;
}

function take(files) {
  const images = [...files].slice(0, about ? about.files : 8);
  if (!images.length) return;
  pictures.forEach((one) => URL.revokeObjectURL(one.url));
  pictures = images.map((file) => ({ file, url: URL.createObjectURL(file) }));
  at("queue").replaceChildren(...pictures.map((one, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = `picture ${place + 1}`;
    button.append(Object.assign(new Image(), { src: one.url, alt: `picture ${place + 1}` }));
    button.addEventListener("click", () => show(place));
    return button;
  }));
  at("queue").hidden = pictures.length < 2;
  show(0);
  if (files.length > images.length) say("no", "Too many pictures", `The first ${images.length} were taken.`);
}

function show(place) {
  chosen = place;
  at("query").src = pictures[place].url;
  at("query").hidden = false;
  at("query").alt = "the picture that is asked about";
  at("hint").hidden = true;
  at("drop").classList.add("asked");
  [...at("queue").children].forEach((one, number) => one.setAttribute("aria-pressed", number === place));
  search();
}

async function search() {
  if (chosen < 0) return;
  const file = pictures[chosen].file;
  if (about && file.size > about.largest) {
    at("hits").replaceChildren();
    return say("no", "Too large", `A picture of up to ${about.largest >> 20} MB is taken.`);
  }
  const mine = ++asking;
  const words = new URLSearchParams({ k: at("k").value });
  for (const id of ["camera", "not_camera"]) if (at(id).value) words.set(id, at(id).value);
  if (at("rerank").checked) words.set("rerank", "1");
  document.body.classList.add("busy");
  try {
    const answer = await fetch(`/search?${words}`, { method: "POST", body: file });
    const reply = await answer.json();
    if (mine !== asking) return;
    if (answer.ok) return tell(reply);
    at("hits").replaceChildren();
    say("no", "No answer", reply.error);
  } catch (error) {
    if (mine === asking) say("no", "No answer", "The server cannot be reached: is it still running?");
  } finally {
    if (mine === asking) document.body.classList.remove("busy");
  }
}

function say(kind, title, text) {
  at("verdict").className = kind;
  const bold = document.createElement("b");
  bold.textContent = title;
  at("verdict").replaceChildren(bold, text);
}

function tell(reply) {
  const hits = at("accepted").checked ? reply.hits.filter((one) => one.accepted) : reply.hits;
  const best = reply.hits[0];
  const near = `The most similar picture has ${best.similarity.toFixed(3)}`;
  const line = reply.threshold ? `the threshold is ${reply.threshold.value.toFixed(3)}` : "";
  if (reply.nobody === null) {
    say("quiet", "Most similar first", `${near}. Without a threshold nobody can say whether it is the same person.`);
  } else if (reply.nobody) {
    say("no", "Nobody in this gallery", `${near}, ${line}.`);
  } else {
    const people = new Set(reply.hits.filter((one) => one.accepted && one.identity).map((one) => one.identity));
    const others = people.size > 1 ? `, or ${[...people].slice(1, 3).join(" or ")}` : "";
    const who = best.identity ? `Most likely ${best.identity}${others}` : "This person is in the gallery";
    const accepted = reply.hits.filter((one) => one.accepted).length;
    say("yes", who, `${count(accepted, "picture reaches", "pictures reach")} the threshold. ${near}, ${line}.`);
  }
  at("hits").replaceChildren(...hits.map((hit, place) => card(hit, place, reply.threshold)));
}

function card(hit, place, threshold) {
  const item = document.createElement("li");
  item.className = hit.accepted === null ? "" : hit.accepted ? "yes" : "below";
  const image = Object.assign(new Image(), { src: `/picture/${hit.row}`, loading: "lazy", alt: `hit ${place + 1}` });
  [image.height, image.width] = about.shape;
  const facts = div("facts");
  const top = div("top");
  top.append(div("similarity", hit.similarity.toFixed(3)), div("place", `${place + 1}`));
  facts.append(top, bar(hit.similarity, threshold));
  if (hit.identity) facts.append(div("who", hit.identity));
  const where = [hit.camera ? `camera ${hit.camera}` : "", hit.time ? new Date(1000 * hit.time).toLocaleString() : ""];
  facts.append(div("where", where.filter(Boolean).join(" · ")));
  item.append(image, facts);
  return item;
}

function bar(similarity, threshold) {
  const svg = (name, values) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
    return made;
  };
  const drawn = svg("svg", { preserveAspectRatio: "none", viewBox: "0 0 100 5" });
  const width = 100 * Math.max(0, Math.min(1, similarity));
  drawn.append(svg("rect", { class: "length", width, height: 5, rx: 2.5 }));
  if (threshold && threshold.value < 1)
    drawn.append(svg("rect", { class: "mark", x: 100 * threshold.value - 1, y: -3, width: 1.6, height: 11 }));
  const made = div("bar");
  made.append(drawn);
  return made;
}

function div(name, text = "") {
  return Object.assign(document.createElement("div"), { className: name, textContent: text });
}

at("file").addEventListener("change", () => take(at("file").files));
for (const id of ["camera", "not_camera", "k", "accepted", "rerank"]) at(id).addEventListener("change", search);
at("filters").addEventListener("submit", (event) => event.preventDefault());
for (const name of ["dragenter", "dragover", "dragleave", "drop"])
  document.addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", name === "dragenter" || name === "dragover");
    if (name === "drop") take(event.dataTransfer.files);
  });
document.addEventListener("paste", (event) => take(event.clipboardData.files));
begin().catch(() => say("no", "No answer", "The server cannot be reached: is it still running?"));
