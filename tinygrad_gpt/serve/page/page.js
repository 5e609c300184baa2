// The page of `serve`. Everything that comes from a model or a person is put in as text, never as HTML.

const $ = (selector, within = document) => within.querySelector(selector);
const TASKS = ["classify", "generate", "chat"];
const ENDS = { "max_new_tokens": "the number of tokens", "stop string": "the end of its turn",
  "end of text": "the end of the text", "time limit": "the time limit of the server" };
const SHOWN = 12; // classes and words that are listed

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function fail(message) {
  const box = $("#failure");
  box.textContent = message;
  box.hidden = !message;
}

// -- requests

async function send(path, body, signal) {
  const response = await fetch(path, {
    method: body ? "POST" : "GET", signal, body: body && JSON.stringify(body),
    headers: body ? { "content-type": "application/json" } : {},
  }).catch(error => {
    throw signal?.aborted ? error : new Error("The server does not answer. Is it still running?");
  });
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw new Error(told.error || `the server answered ${response.status}`);
}

/** Each line of JSON of a stream, as an object. */
async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    const parts = (held + (value || "")).split("\n");
    held = parts.pop();
    for (const part of parts) yield JSON.parse(part);
    if (done) return;
  }
}

/** Show what a model writes as it comes, until it ends or Stop is pressed; returns the text. */
async function stream(panel, path, body, show) {
  const stop = $(".stop", panel), main = $(".main", panel), status = $("[role=status]", panel);
  const control = new AbortController();
  const began = performance.now();
  let text = "", pieces = 0, ended = "you", focus = document.activeElement === main;
  stop.onclick = () => control.abort();
  stop.disabled = false;
  main.disabled = true;
  if (focus) stop.focus();
  status.textContent = "Writing…";
  fail("");
  try {
    for await (const line of lines(await send(path, { ...body, stream: true }, control.signal))) {
      if (line.error) throw new Error(line.error);
      text += line.text;
      pieces += 1;
      show(text);
      if (line.stopped_by) ended = (ENDS[line.stopped_by] || line.stopped_by) + notes(line);
    }
  } catch (error) {
    if (!control.signal.aborted) {
      fail(error.message);
      ended = "a failure";
    }
  } finally {
    focus = document.activeElement === stop;
    stop.disabled = true;
    main.disabled = false;
    if (focus) main.focus();
    const seconds = (performance.now() - began) / 1000;
    status.textContent = `${pieces} ${pieces === 1 ? "piece" : "pieces"} in ${seconds.toFixed(1)} s; ended by: ${ended}`;
  }
  return text;
}

function notes(line) {
  return (line.truncated ? "; the beginning was too long to be read whole" : "") +
    (line.forgotten ? `; the oldest turns no longer fit: ${line.forgotten}` : "");
}

// -- classify

async function classify(panel) {
  const main = $(".main", panel);
  main.disabled = true;
  fail("");
  try {
    const response = await send("api/classify", {
      texts: [$("#text").value], model: $("select", panel).value, explain: true });
    showAnswer((await response.json()).answers[0]);
  } catch (error) {
    $("#answer").replaceChildren();
    fail(error.message);
  } finally {
    main.disabled = false;
  }
}

function showAnswer(answer) {
  const ranked = Object.entries(answer.probabilities).sort((a, b) => b[1] - a[1]);
  const rows = ranked.slice(0, SHOWN).map(([label, p]) => element("tr", {},
    element("th", { scope: "row" }, element("bdi", {}, label)),
    element("td", {}, element("meter", { min: 0, max: 1, value: p, ariaHidden: "true" })),
    element("td", { className: "number" }, p.toFixed(3))));
  $("#answer").replaceChildren(
    element("p", { className: "verdict" }, element("bdi", {}, answer.unsure ? "unsure" : answer.label),
      element("small", {}, answer.unsure ? "no class is likely enough" : answer.probability.toFixed(3))),
    element("p", { className: "note" }, `${answer.tokens} tokens` +
      (answer.truncated ? "; the text is longer than the model reads, its end was not read" : "")),
    element("table", { className: "probabilities" }, element("tbody", {}, ...rows)),
    ...(ranked.length > SHOWN ? [element("p", { className: "note" }, `and ${ranked.length - SHOWN} more classes`)] : []),
    ...reasons(answer.explanation));
}

/** The text with its words shaded by what they did, and the strongest in a table, so that colour is not all. */
function reasons(explanation) {
  const { words } = explanation;
  const largest = Math.max(...words.map(word => Math.abs(word.weight)), 1e-9);
  const text = words.flatMap(word => {
    const [, space, letters] = word.text.match(/^(\s*)([^]*)$/);
    const mark = element("mark", { title: signed(word.weight) }, letters);
    mark.style.backgroundColor = shade(word.weight / largest);
    return [space, mark];
  });
  const strongest = words.filter(word => word.text.trim()).sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
  const rows = strongest.slice(0, SHOWN / 2).map(word => element("tr", {},
    element("th", { scope: "row" }, element("bdi", {}, word.text.trim())),
    element("td", { className: "number" }, signed(word.weight))));
  return [element("h2", {}, "What moved the decision"),
    element("p", { className: "legend" }, key(1, "for the label"), key(-1, "against it")),
    element("p", { className: "read" }, ...text),
    element("table", { className: "words" }, element("tbody", {}, ...rows)),
    element("p", { className: "note" }, `Parts of the log-odds of the label, ${signed(explanation.score)}; of a neutral ` +
      `text ${signed(explanation.neutral)}. Integrated gradients.`)];
}

const signed = value => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
const shade = strength => `rgb(${strength > 0 ? "214 64 54" : "44 120 200"} / ${(Math.abs(strength) * .55).toFixed(3)})`;

function key(strength, meaning) {
  const colour = element("i");
  colour.style.backgroundColor = shade(strength);
  return element("span", {}, colour, meaning);
}

// -- generate and chat

function settings(panel) {
  const body = { model: $("select", panel).value };
  for (const input of panel.querySelectorAll(".settings input")) body[input.name] = Number(input.value);
  return body;
}

async function generate(panel) {
  const prompt = $("#prompt").value, written = $("#written");
  written.hidden = false;
  const show = text => written.replaceChildren(element("b", {}, prompt), text);
  show("");
  await stream(panel, "api/generate", { ...settings(panel), prompt }, show);
}

let messages = [];

async function chat(panel) {
  const content = $("#message").value.trim();
  if (!content || $(".main", panel).disabled) return;
  $("#message").value = "";
  const mine = said("user", content), theirs = said("assistant", "");
  const asked = [...messages, { role: "user", content }];
  const text = await stream(panel, "api/chat", { ...settings(panel), messages: asked }, text => {
    theirs.lastChild.textContent = text;
    theirs.scrollIntoView({ block: "nearest" });
  });
  if (!mine.isConnected) return; // a new conversation was begun
  if (text.trim()) {
    messages = [...asked, { role: "assistant", content: text }];
  } else { // a request without an answer is no part of the conversation; it can be sent again
    mine.remove();
    theirs.remove();
    $("#message").value ||= content;
  }
}

function said(role, text) {
  const shown = element("p", { className: `said ${role}` },
    element("span", { className: "who" }, role === "user" ? "You" : "Model"), element("span", {}, text));
  $("#conversation").append(shown);
  shown.scrollIntoView({ block: "nearest" });
  return shown;
}

// -- the page

function choose(task) {
  for (const each of TASKS) {
    const tab = $(`#tab-${each}`);
    tab.setAttribute("aria-selected", each === task);
    tab.tabIndex = each === task ? 0 : -1;
    $(`#${each}`).hidden = each !== task;
  }
  fail("");
}

/** Arrow keys, Home and End move between tabs, as the ARIA practices have it. */
function walk(event) {
  const tabs = TASKS.map(task => $(`#tab-${task}`)).filter(tab => !tab.hidden);
  const at = tabs.indexOf(event.target);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
  if (to === undefined) return;
  const tab = tabs.at(to % tabs.length);
  tab.focus();
  tab.click();
  event.preventDefault();
}

function offer(task, models) {
  const panel = $(`#${task}`), select = $("select", panel);
  const able = models.filter(model => model.tasks.includes(task));
  if (task === "chat") able.sort((a, b) => !a.style - !b.style);
  select.replaceChildren(...able.map(model => element("option", { value: model.name }, model.name)));
  $(".model", panel).hidden = able.length < 2;
  $(`#tab-${task}`).hidden = able.length === 0;
  return able;
}

function warn(models) {
  const chosen = models.find(model => model.name === $("#chat select").value);
  $("#untuned").textContent = "This model was not tuned on instructions: it continues texts, and may not answer.";
  $("#untuned").hidden = !chosen || Boolean(chosen.style);
}

async function start() {
  for (const place of document.querySelectorAll(".settings")) place.append($("#settings").content.cloneNode(true));
  const run = { classify, generate, chat };
  for (const task of TASKS) {
    const panel = $(`#${task}`), form = $("form", panel);
    $(`#tab-${task}`).onclick = () => choose(task);
    $(`#tab-${task}`).onkeydown = walk;
    form.onsubmit = event => {
      event.preventDefault();
      run[task](panel);
    };
    $("textarea", panel).onkeydown = event => {
      const sends = event.key === "Enter" && !event.isComposing &&
        (event.ctrlKey || event.metaKey || (task === "chat" && !event.shiftKey));
      if (!sends || $(".main", panel).disabled) return;
      event.preventDefault();
      form.requestSubmit();
    };
  }
  $("#anew").onclick = () => {
    $("#chat .stop").click();
    messages = [];
    $("#conversation").replaceChildren();
    $("#chat [role=status]").textContent = "";
    $("#message").focus();
  };
  try {
    const { models } = await (await send("api/models")).json();
    const able = Object.fromEntries(TASKS.map(task => [task, offer(task, models)]));
    $("#chat select").onchange = () => warn(models);
    warn(models);
    choose(TASKS.find(task => able[task].length));
    document.body.dataset.ready = "yes";
  } catch (error) {
    fail(error.message);
  }
}

start();
