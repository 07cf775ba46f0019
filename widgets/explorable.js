// The browser's side of every explorable. Sent once a page (see library.py); each explorable only waits for it.

const STORE = "system-design-workbook";

async function loadPlotly(model) {
  const bytes = model.get("plotly");
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const source = await new Response(stream).blob();
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  // plotly.js is a UMD bundle: with JupyterLab's or Voilà's AMD loader in sight it would hide in there.
  const define = globalThis.define;
  globalThis.define = undefined;
  try {
    await new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = url;
      script.onload = resolve;
      script.onerror = () => reject(new Error("plotly.js could not be loaded"));
      document.head.append(script);
    });
  } finally {
    globalThis.define = define;
    URL.revokeObjectURL(url);
  }
  return globalThis.Plotly;
}

export default {
  async initialize({ model }) {
    const shelf = (globalThis.systemDesignWorkbook ??= {});
    const slot = (shelf[model.get("key")] ??= {});
    slot.ready ??= new Promise((resolve) => (slot.resolve = resolve));
    if (slot.started) return;
    slot.started = true;
    const style = document.createElement("style");
    style.textContent = model.get("style");
    document.head.append(style);
    shelf.plotly ??= {};
    const version = model.get("plotly_version");
    shelf.plotly[version] ??= loadPlotly(model);
    slot.resolve({ render: (context) => render(context, shelf.plotly[version]) });
  },
};

// Small helpers ---------------------------------------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  // JupyterLab's shortcuts (arrows move between cells) look at the focused element itself: each says no.
  if (["input", "select", "button", "summary"].includes(tag)) node.dataset.lmSuppressShortcuts = "true";
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") for (const [event, action] of Object.entries(value)) node.addEventListener(event, action);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

function paint(value, theme) {
  if (typeof value === "string") return theme[value] ?? value;
  if (Array.isArray(value)) return value.map((entry) => paint(entry, theme));
  if (value && typeof value === "object" && !ArrayBuffer.isView(value)) {
    return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, paint(entry, theme)]));
  }
  return value;
}

function isDark() {
  const light = document.body.dataset.jpThemeLight;
  if (light !== undefined) return light === "false";
  return document.body.classList.contains("theme-dark") || matchMedia("(prefers-color-scheme: dark)").matches;
}

function shown(value) {
  if (typeof value === "boolean") return value ? "on" : "off";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  const text = Number(value.toPrecision(4));
  return Math.abs(text) >= 1e-4 ? text.toLocaleString("en-US", { maximumSignificantDigits: 4 }) : String(text);
}

function unitText(value, unit) {
  return unit ? `${shown(value)} ${unit}` : shown(value);
}

function float32(buffer) {
  const view = buffer instanceof DataView ? buffer : new DataView(buffer.buffer ?? buffer);
  // A copy: the message's own buffer need not be aligned to four bytes.
  return new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

// A field to type in. In a JupyterLab notebook Enter neither changes nor submits, so it is heard here.
function textField(attributes, entered) {
  const field = make("input", { type: "text", autocomplete: "off", ...attributes, on: { keydown: (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    entered(field.value.trim());
  } } });
  return field;
}

// A field of a control: Enter or leaving it tells of a number, or of the text that is none.
function valueField(attributes, change) {
  let written = "";
  const tell = (text) => {
    const number = Number(text.replaceAll(",", ""));
    change(text === "" || Number.isNaN(number) ? text : number);
  };
  const field = textField({ class: "sdw-exact", ...attributes }, tell);
  field.addEventListener("change", () => field.value !== written && tell(field.value.trim()));
  return { field, write: (text) => (field.value = written = text) };
}

// Controls --------------------------------------------------------------------------------------------------

// Each returns {node, write(value), limit?(last)}; `change(value)` tells of a new value.
function numberControl(control, id, change) {
  const log = control.kind === "log";
  const last = log ? control.positions : Math.round((control.high - control.low) / control.step);
  const tidy = (value) => {
    const bounded = Math.min(control.high, Math.max(control.low, value));
    if (bounded === control.low || bounded === control.high) return bounded;
    return control.whole ? Math.round(bounded) : Number(bounded.toPrecision(log ? 3 : 6));
  };
  const at = (position) => {
    if (position >= last) return control.high;
    if (!log) return tidy(control.low + position * control.step);
    return tidy(control.low * (control.high / control.low) ** (position / last));
  };
  const position = (value) =>
    log
      ? (Math.log(value / control.low) / Math.log(control.high / control.low)) * last
      : (value - control.low) / control.step;
  let current = control.value;
  const range = make("input", {
    type: "range", id, min: 0, max: last, step: 1,
    on: {
      input: () => {
        let next = at(Number(range.value));
        // Whole numbers on a log scale share positions at its low end: a key press always moves on.
        if (control.whole && log && next === current) {
          const direction = Math.sign(Number(range.value) - position(current));
          next = tidy(current + direction);
        }
        current = next;
        spell();
        change(next);
      },
    },
  });
  const exact = valueField({ inputmode: "decimal", "aria-label": `${control.label}, exact value` }, change);
  function spell() {
    range.setAttribute("aria-valuetext", unitText(current, control.unit));
    exact.write(shown(current));
  }
  return {
    node: make("div", { class: "sdw-control" },
      make("label", { for: id }, control.label),
      make("div", { class: "sdw-row" }, range, exact.field, make("span", { class: "sdw-unit" }, control.unit)),
    ),
    write(value) {
      current = value;
      range.value = Math.round(position(value));
      spell();
    },
  };
}

function choiceControl(control, id, change) {
  const select = make("select", { id, on: { change: () => change(select.value) } },
    ...control.options.map((option) => make("option", { value: option }, option)));
  return {
    node: make("div", { class: "sdw-control" }, make("label", { for: id }, control.label), select),
    write: (value) => (select.value = value),
  };
}

function toggleControl(control, id, change) {
  const box = make("input", { type: "checkbox", id, on: { change: () => change(box.checked) } });
  return {
    node: make("div", { class: "sdw-control sdw-toggle" }, box, make("label", { for: id }, control.label)),
    write: (value) => (box.checked = value),
  };
}

function seedControl(control, id, change) {
  const exact = valueField({ inputmode: "numeric", id }, change);
  let current = control.value;
  const again = make("button", { type: "button", on: { click: () => change((current + 1) % (control.high + 1)) } },
    "Draw again");
  return {
    node: make("div", { class: "sdw-control" }, make("label", { for: id }, "random seed"),
      make("div", { class: "sdw-row" }, exact.field, again)),
    write(value) {
      current = value;
      exact.write(String(value));
    },
  };
}

function timelineControl(control, id, change, drawn) {
  let current = control.value, last = control.high, playing = false;
  const go = (step) => {
    current = Math.min(last, Math.max(0, step));
    write(current);
    change(current);
  };
  const button = (name, sign, action) =>
    make("button", { type: "button", title: name, "aria-label": name, on: { click: action } }, sign);
  const range = make("input", { type: "range", id, min: 0, max: last, step: 1, on: { input: () => {
    stop();
    go(Number(range.value));
  } } });
  const count = make("span", { class: "sdw-count" });
  const play = button("Play", "Play", () => (playing ? stop() : start()));
  // A step is drawn, then waited for: with reduced motion asked for, slower and nothing slides.
  const pause = () => (matchMedia("(prefers-reduced-motion: reduce)").matches ? 1200 : 600);
  function stop() {
    playing = false;
    play.textContent = "Play";
    play.title = "Play";
    play.setAttribute("aria-label", "Play");
  }
  async function start() {
    playing = true;
    play.textContent = "Pause";
    play.title = "Pause";
    play.setAttribute("aria-label", "Pause");
    if (current >= last) go(0);
    while (playing && current < last) {
      const seen = drawn();
      await new Promise((resolve) => setTimeout(resolve, pause()));
      if (!playing || !play.isConnected) break;
      go(current + 1);
      await seen;
    }
    stop();
  }
  function write(value) {
    current = value;
    range.value = value;
    range.setAttribute("aria-valuetext", `${control.label} ${value} of ${last}`);
    count.textContent = `${value} / ${last}`;
  }
  return {
    node: make("div", { class: "sdw-control sdw-timeline" }, make("label", { for: id }, control.label),
      make("div", { class: "sdw-row" },
        button("To the start", "|◀", () => { stop(); go(0); }),
        button("One step back", "◀", () => { stop(); go(current - 1); }),
        play,
        button("One step on", "▶", () => { stop(); go(current + 1); }),
        button("To the end", "▶|", () => { stop(); go(last); }),
        range, count)),
    write,
    limit(value) {
      last = value ?? control.high;
      range.max = last;
      write(Math.min(current, last));
    },
  };
}

const CONTROLS = {
  slider: numberControl, log: numberControl, choice: choiceControl, toggle: toggleControl, seed: seedControl,
  timeline: timelineControl,
};

// The question ----------------------------------------------------------------------------------------------

function verdict(question, given) {
  if (given === null) return `The answer: ${question.answer_text}.`;
  if (question.options.length) {
    return given === question.answer ? `You said “${given}”, and so it is.`
      : `You said “${given}”. It is “${question.answer}”.`;
  }
  const said = `You said ${unitText(given, question.unit)}`;
  const off = Math.abs(given - question.answer);
  if (off <= 0.02 * Math.abs(question.answer) || off < 1e-9) return `${said}: right, it is ${question.answer_text}.`;
  const ratio = given / question.answer;
  const times = ratio > 1 ? `${shown(Number(ratio.toPrecision(2)))} times too much` : ratio > 0 ? `${shown(Number((1 / ratio).toPrecision(2)))} times too little` : "";
  return `${said}. It is ${question.answer_text}${times ? ", so that was " + times : ""}.`;
}

function questionBlock(spec, reveal) {
  const { question } = spec;
  const id = `sdw-${Math.random().toString(36).slice(2)}`;
  const hint = make("p", { class: "sdw-hint", role: "status" });
  const answer = (value) => reveal(value);
  const choices = question.options.map((option) =>
    make("button", { type: "button", class: "sdw-option", on: { click: () => answer(option) } }, option));
  const check = (text) => {
    const value = Number(text.replaceAll(",", ""));
    if (text === "" || Number.isNaN(value)) hint.textContent = "Type a number, or choose Show me.";
    else answer(value);
  };
  const field = textField({ inputmode: "decimal", id, class: "sdw-guess" }, check);
  const estimate = make("div", { class: "sdw-estimate" },
    make("label", { for: id }, "Your estimate"), field, make("span", {}, question.unit),
    make("button", { type: "button", class: "sdw-main", on: { click: () => check(field.value.trim()) } }, "Check"));
  return make("div", { class: "sdw-question" },
    make("p", { class: "sdw-ask" }, make("span", { class: "sdw-tag" }, "Predict"), " ", question.text),
    make("div", { class: "sdw-answers" }, ...(choices.length ? choices : [estimate]),
      make("button", { type: "button", class: "sdw-quiet", on: { click: () => answer(null) } }, "Show me")),
    hint);
}

// What a reader has predicted stays for the day: a restarted kernel does not ask again.
function remembered(name) {
  try { return JSON.parse(sessionStorage.getItem(`${STORE}:${name}`)); } catch { return null; }
}
function remember(name, value) {
  try { sessionStorage.setItem(`${STORE}:${name}`, JSON.stringify(value)); } catch { /* private window */ }
}

// One explorable --------------------------------------------------------------------------------------------

// After so long (ms) a page says that it is computing.
const PATIENCE = 300;

function render({ model, el }, plotlyReady) {
  const spec = model.get("spec");
  const unique = `sdw-${model.model_id ?? Math.random().toString(36).slice(2)}-${Math.random().toString(36).slice(2, 6)}`;
  const state = { traces: [], layout: {}, sequence: -1, parameters: {}, pinned: null };
  let plotly = null, dead = false, waiters = [];

  // What is sent: one request at a time, then the newest setting. `sent` holds the changes no picture shows yet.
  // What can be stopped has PATIENCE to finish before a newer setting takes its place: quick ones all are seen.
  // Replies go to every view of a widget: a number of its own tells whose request it was.
  let underWay = null, next = null, sent = {}, late = false, timer = 0, silence = 0;
  let requests = Math.floor(Math.random() * 2 ** 40);
  function set(change) {
    next = { ...next, ...change };
    if (underWay === null || late) send();
  }
  function send() {
    if (next === null) return;
    sent = { ...sent, ...next };
    next = null;
    underWay = ++requests;
    late = false;
    stopped(false);
    plot.setAttribute("aria-busy", "true");
    if (!running.hidden) progress(0);
    clearTimeout(timer);
    timer = setTimeout(takesLong, PATIENCE);
    listen();
    model.send({ kind: "set", request: underWay, parameters: sent });
  }
  function takesLong() {
    root.classList.add("sdw-busy");
    if (!spec.reports) return;
    late = true;
    progress(0);
    if (next !== null) send();
  }
  // A kernel that computes may take its time; one that is gone or started anew never answers: say so.
  function listen() {
    clearTimeout(silence);
    silence = setTimeout(() => {
      if (model.widget_manager?.kernel?.status === "busy") return listen();
      idle();
      next = null;
      sent = {};
      error.textContent = "The kernel does not answer: it has ended or was started anew. Choose Run, then Run All Cells.";
      error.hidden = false;
    }, 5000);
  }
  function answered(request) {
    if (underWay !== null && request !== underWay) return;
    sent = {};
    idle();
    send();
  }
  function idle() {
    underWay = null;
    late = false;
    clearTimeout(timer);
    clearTimeout(silence);
    plot.removeAttribute("aria-busy");
    root.classList.remove("sdw-busy");
    progress(null);
    stopped(false);
  }
  // Shows the share that is done; null for nothing under way.
  function progress(share) {
    if (share === null && stop.contains(document.activeElement)) root.querySelector(".sdw-control :is(input, select)").focus();
    running.hidden = share === null;
    const percent = Math.floor(100 * (share ?? 0));
    bar.setAttribute("aria-valuenow", percent);
    bar.setAttribute("aria-valuetext", `computing ${percent} %`);
    bar.firstChild.style.width = `${percent}%`;
    percentage.textContent = `computing ${percent} %`;
  }
  function halt() {
    // What waits to be sent is not computed either; the next change takes it along.
    sent = { ...sent, ...next };
    next = null;
    model.send({ kind: "stop", request: underWay });
  }
  // Says that the controls are ahead of the picture, and which.
  function stopped(yes) {
    const ahead = yes ? spec.controls.filter(({ name }) => name in sent && sent[name] !== state.parameters[name]) : [];
    for (const control of spec.controls) {
      controls[control.name].node.classList.toggle("sdw-ahead", ahead.includes(control));
    }
    // What was typed stands in its field only.
    for (const { name } of ahead) controls[name].write(sent[name]);
    root.classList.toggle("sdw-stopped", yes);
    const there = ahead.map(({ name, label, unit }) => `${label} ${unitText(state.parameters[name], unit)}`);
    halted.textContent = yes
      ? `Stopped: the picture shows the last setting that was computed${there.length ? `, ${there.join(", ")}` : ""}.` : "";
  }

  const drawn = () => new Promise((resolve) => waiters.push(resolve));
  const controls = Object.fromEntries(spec.controls.map((control, index) => [
    control.name,
    CONTROLS[control.kind](control, `${unique}-${index}`, (value) => set({ [control.name]: value }), drawn),
  ]));
  const plot = make("div", { class: "sdw-plot", role: "img" });
  const bar = make("div", { class: "sdw-bar", role: "progressbar", "aria-label": "Computing", "aria-valuemin": 0, "aria-valuemax": 100 },
    make("div", {}));
  const percentage = make("span", {});
  const stop = make("button", { type: "button", title: "Stop computing; the last picture stays", on: { click: halt } }, "Stop");
  const running = make("div", { class: "sdw-row", hidden: true }, bar, percentage, stop);
  const halted = make("p", { role: "status" });
  const run = spec.reports ? make("div", { class: "sdw-run" }, running, halted) : null;
  const sentence = make("p", { class: "sdw-sentence", "aria-live": "polite" });
  const error = make("p", { class: "sdw-error", role: "alert", hidden: true });
  const outcome = make("p", { class: "sdw-outcome", role: "status" });
  const description = make("p", {});
  const pinned = make("p", { class: "sdw-pinned", hidden: true });
  const share = make("input", { type: "text", readonly: true, "aria-label": "This scenario as a line of Python", hidden: true });
  const button = (text, title, action) =>
    make("button", { type: "button", title, on: { click: action } }, text);
  const pin = button("Pin", "Keep this picture in the background to compare with", () => {
    state.pinned = state.pinned ? null : {
      sentence: sentence.textContent,
      traces: state.traces.map((trace) => ({ meta: trace.meta, arrays: { ...trace.arrays } })),
    };
    pin.textContent = state.pinned ? "Unpin" : "Pin";
    pinned.hidden = !state.pinned;
    pinned.textContent = state.pinned ? `Pinned: ${state.pinned.sentence}` : "";
    draw();
  });
  const tools = make("div", { class: "sdw-tools" },
    button("Reset", "All controls back to where they started", () =>
      set(Object.fromEntries(spec.controls.map((control) => [control.name, control.value])))),
    pin,
    button("Share", "Copy a line of Python that opens this very picture", () => {
      const text = JSON.stringify({ explorable: spec.name, parameters: state.parameters });
      // A Python string: what JSON escapes has to be escaped once more.
      share.value = `widgets.restore('${text.replace(/[\\']/g, "\\$&")}')`;
      share.hidden = false;
      share.select();
      navigator.clipboard?.writeText(share.value).catch(() => {});
    }),
    share);
  const body = make("div", { class: "sdw-body", hidden: true },
    make("div", { class: "sdw-controls", role: "group", "aria-label": "Controls" },
      ...spec.controls.map((control) => controls[control.name].node)),
    outcome, run, plot, sentence, pinned, tools,
    make("details", {}, make("summary", {}, "In words"), description,
      spec.leaves_out ? make("p", {}, make("b", {}, "What this leaves out: "), spec.leaves_out) : null));
  const ask = questionBlock(spec, (value) => {
    remember(spec.name, { value });
    open(value);
  });
  const root = make("section", { class: "sdw", "aria-label": spec.title, "data-explorable": spec.name }, make("p", { class: "sdw-title" }, spec.title), ask, error, body);
  el.append(root);

  function open(value) {
    ask.hidden = true;
    body.hidden = false;
    outcome.textContent = verdict(spec.question, value);
    draw();
  }

  function traces(list, theme, ghost) {
    return list.map(({ meta, arrays }) => {
      const trace = { ...paint(meta, theme), ...arrays };
      if (!ghost) return trace;
      trace.opacity = 0.35 * (trace.opacity ?? 1);
      trace.showlegend = false;
      trace.hoverinfo = "skip";
      for (const part of ["line", "marker"]) if (trace[part]) trace[part] = { ...trace[part], color: theme.$soft };
      return trace;
    });
  }
  function draw() {
    if (!plotly || dead || body.hidden || state.sequence < 0 || !plot.isConnected) return;
    const theme = isDark() ? spec.dark : spec.light;
    const data = [
      ...(state.pinned ? traces(state.pinned.traces, theme, true) : []),
      ...traces(state.traces, theme, false),
    ];
    const layout = { ...paint(state.layout, theme), autosize: true };
    if (state.pinned && !layout.barmode) layout.barmode = "overlay";
    narrow(layout, plot.clientWidth);
    if (plot.clientWidth) wrapTitles(layout, layout.width ?? plot.clientWidth);
    plotly.react(plot, data, layout, { displayModeBar: false, responsive: true }).then(() => {
      plot.dataset.drawn = state.sequence;
      for (const resolve of waiters.splice(0)) resolve();
    });
  }

  function apply(message, buffers) {
    if (message.kind === "progress" || message.kind === "stopped") {
      if (message.request !== underWay) return;
      if (message.kind === "stopped") {
        idle();
        stopped(true);
      } else {
        listen();
        progress(message.share);
      }
      return;
    }
    if (message.error) {
      error.textContent = message.error;
      error.hidden = false;
    } else {
      error.hidden = true;
    }
    if (message.traces) {
      state.traces = message.traces.map((trace, index) => {
        const before = state.traces[index] ?? { meta: {}, arrays: {} };
        const arrays = trace.meta && before.meta.type !== trace.meta.type ? {} : { ...before.arrays };
        for (const [key, place] of Object.entries(trace.arrays)) arrays[key] = float32(buffers[place]);
        return { meta: trace.meta ?? before.meta, arrays };
      });
      if (message.layout) state.layout = message.layout;
      sentence.textContent = message.sentence;
      description.textContent = message.description;
      plot.setAttribute("aria-label", `${spec.title}. ${message.sentence}`);
    }
    state.sequence = message.sequence;
    state.parameters = message.parameters;
    root.dataset.sequence = message.sequence;
    root.dataset.kernelMs = message.kernel_ms;
    const settled = next === null && (underWay === null || message.request === underWay);
    for (const [name, control] of Object.entries(controls)) {
      if (settled) control.write(message.parameters[name]);
      if (control.limit) control.limit(message.last_step);
    }
    if (message.traces) draw();
    answered(message.request);
  }

  const receive = (message, buffers) => apply(message, buffers ?? []);
  model.on("msg:custom", receive);
  const whole = model.get("picture");
  apply(whole, whole.buffers);
  model.send({ kind: "ready", sequence: state.sequence });
  const before = remembered(spec.name);
  if (before) open(before.value);
  plotlyReady.then((loaded) => {
    plotly = loaded;
    draw();
  });

  // The theme may change, and the cell may be shown only later or get wider.
  const themes = new MutationObserver(draw);
  themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  let width = 0;
  const sizes = new ResizeObserver(() => {
    if (Math.abs(plot.clientWidth - width) <= 2) return;
    // Out of sight it has no width, and is not drawn: coming back counts as a change.
    width = plot.clientWidth;
    if (width) draw();
  });
  sizes.observe(plot);
  return () => {
    dead = true;
    clearTimeout(timer);
    clearTimeout(silence);
    themes.disconnect();
    sizes.disconnect();
    model.off("msg:custom", receive);
    if (plotly) plotly.purge(plot);
  };
}

// Panels stand side by side; on a narrow page below each other, and on a very narrow one they scroll.
const NARROW = 560, NARROWEST = 400;

function narrow(layout, width) {
  if (!width || width > NARROW) return;
  if (width < NARROWEST) Object.assign(layout, { autosize: false, width: NARROWEST });
  const axes = Object.keys(layout).filter((key) => key.startsWith("xaxis"));
  const { t, b } = layout.margin;
  const one = layout.height - t - b;
  // Between two panels stand the axis title of the one and the title of the other.
  const gap = t + b + 22;
  const whole = axes.length * one + (axes.length - 1) * gap;
  const top = (row) => 1 - (row * (one + gap)) / whole;
  axes.forEach((key, row) => {
    const suffix = key.slice(5);
    layout[key] = { ...layout[key], domain: [0, 1] };
    layout[`yaxis${suffix}`] = { ...layout[`yaxis${suffix}`], domain: [top(row) - one / whole, top(row)] };
  });
  let title = 0;
  layout.annotations = layout.annotations.map((note) =>
    note.xref === "paper" ? { ...note, x: 0.5, y: top(title++) } : note);
  // The legend breaks into more rows here, and keeps to the lower edge.
  layout.legend = { ...layout.legend, yref: "container", y: 0, yanchor: "bottom" };
  layout.height = whole + t + b + (layout.showlegend ? 60 : 0);
}

// plotly draws an axis title in one line, over the edge of the picture if need be.
function wrapTitles(layout, width) {
  const { l, r, t, b } = layout.margin;
  let lines = 1;
  for (const key of Object.keys(layout).filter((name) => /^[xy]axis/.test(name))) {
    const [from, to] = layout[key].domain ?? [0, 1];
    const room = (to - from) * (key[0] === "x" ? width - l - r : layout.height - t - b);
    // A title is centred on its axis and may reach into the margin there; a character takes about 8 px.
    const text = wrapped(layout[key].title.text, Math.max(12, Math.floor((room + 30) / 8)));
    layout[key] = { ...layout[key], title: { ...layout[key].title, text } };
    if (key[0] === "x") lines = Math.max(lines, text.split("<br>").length);
  }
  if (lines === 1) return;
  const more = 20 * (lines - 1);
  layout.margin = { ...layout.margin, b: b + more };
  layout.height += more;
  if (layout.legend.yref !== "container") {
    layout.legend = { ...layout.legend, y: layout.legend.y - more / (layout.height - t - b - more) };
  }
}

function wrapped(text, length) {
  const lines = [""];
  for (const word of text.split(" ")) {
    const last = lines[lines.length - 1];
    if (last && last.length + 1 + word.length > length) lines.push(word);
    else lines[lines.length - 1] = last ? `${last} ${word}` : word;
  }
  return lines.join("<br>");
}
