"use strict";
// What moves on this page. No number is computed here: all of them stand in the blocks of data,
// those with four decimals as whole ten-thousandths. This only chooses which to show, and where.

const MINUS_INFINITY = "-inf";

// ---- Elements

/** An element with attributes, listeners ("onclick") and children; strings become text, never HTML. */
function make(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "text", "circle", "line", "rect", "polyline", "title"];
  const element = svg.includes(name)
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null) element.setAttribute(key, value);
  }
  element.append(...children.flat(9).filter((child) => child !== null));
  return element;
}

/** Text of a token, kept from turning the direction of what stands around it. */
const isolated = (text, attributes = {}) => make("bdi", attributes, text);

/** Ten-thousandths with their decimal point; what is no finite number comes as a word. */
function decimal(number) {
  if (typeof number === "string") return number;
  const digits = String(Math.abs(number)).padStart(5, "0");
  return (number < 0 ? "-" : "") + digits.slice(0, -4) + "." + digits.slice(-4);
}

const bracketed = (number) => (number.startsWith("-") ? `(${number})` : number);

/** Scroll a container, and nothing else, so that a part of it is in its middle. */
function bringIntoView(container, part) {
  if (!part) return;
  const [outer, inner] = [container.getBoundingClientRect(), part.getBoundingClientRect()];
  container.scrollTop += inner.top + inner.height / 2 - outer.top - outer.height / 2;
}

const plural = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

function dataOf(name) {
  const block = document.getElementById(`data-${name}`);
  return block ? JSON.parse(block.textContent) : null;
}

// ---- Moving through a row of things with the arrow keys: one stop of Tab for all of them

function walkable(container, selector) {
  const items = () => [...container.querySelectorAll(selector)];
  items().forEach((item, i) => item.setAttribute("tabindex", i ? "-1" : "0"));
  container.addEventListener("keydown", (event) => {
    const all = items();
    const here = all.indexOf(event.target);
    if (here < 0) return;
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    let next;
    if (event.key in steps) next = here + steps[event.key];
    else if (event.key === "Home") next = 0;
    else if (event.key === "End") next = all.length - 1;
    if (next === undefined || !all[next]) return;
    event.preventDefault();
    all[here].setAttribute("tabindex", "-1");
    all[next].setAttribute("tabindex", "0");
    all[next].focus();
  });
}

// ---- Tokens: id and bytes of the one that is pointed at

function tokens() {
  const tip = document.getElementById("tip");
  const show = (token) => {
    const { id, bytes, note } = token.dataset;
    const count = bytes.split(" ").length;
    tip.replaceChildren(
      make("b", {}, `id ${id}`),
      make("span", {}, `${plural(count, "byte")}: `, make("code", {}, bytes)),
    );
    if (note) tip.append(make("span", {}, note));
    tip.hidden = false;
    const box = token.getBoundingClientRect();
    const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(8, left) + scrollX}px`;
    tip.style.top = `${box.bottom + 6 + scrollY}px`;
    token.setAttribute("aria-describedby", "tip");
  };
  const hide = (event) => {
    const token = event.target.closest?.(".tok");
    if (token) token.removeAttribute("aria-describedby");
    tip.hidden = true;
  };
  for (const token of document.querySelectorAll(".token-row .tok")) token.removeAttribute("title");
  for (const row of document.querySelectorAll(".token-row")) walkable(row, ".tok");
  for (const name of ["mouseover", "focusin"]) {
    document.addEventListener(name, (event) => {
      const token = event.target.closest?.(".token-row .tok");
      if (token) show(token);
    });
  }
  document.addEventListener("mouseout", hide);
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") tip.hidden = true;
  });
  for (const box of document.querySelectorAll(".show-blanks")) {
    box.addEventListener("change", () => document.body.classList.toggle("blanks", box.checked));
  }
}

// ---- A slider with a button on either side

function stepper(label, last, say, onstep) {
  const slider = make("input", {
    type: "range", min: 0, max: last, value: 0, "aria-label": label, class: "slider",
  });
  const out = make("output", { class: "figures" });
  const go = (step) => {
    slider.value = step;
    const at = Number(slider.value);
    back.disabled = at === 0;
    forth.disabled = at === last;
    out.textContent = say(at);
    slider.setAttribute("aria-valuetext", say(at));
    onstep(at);
  };
  const back = make("button", {
    type: "button", "aria-label": `${label}: back`, onclick: () => go(Number(slider.value) - 1),
  }, "◀");
  const forth = make("button", {
    type: "button", "aria-label": `${label}: on`, onclick: () => go(Number(slider.value) + 1),
  }, "▶");
  slider.addEventListener("input", () => go(Number(slider.value)));
  return { element: make("div", { class: "stepper" }, back, slider, forth, out), go };
}

/** Choices of which one holds, as buttons; `onchoose` gets its number. */
function choices(name, labels, chosen, onchoose) {
  return make("div", { class: "choices", role: "radiogroup", "aria-label": name },
    labels.map((label, i) => make("label", {},
      make("input", {
        type: "radio", name: name.replace(/\W/g, "-"), value: i, checked: i === chosen,
        onchange: () => onchoose(i),
      }),
      isolated(label))));
}

const box = (text, colour, extra = "") =>
  make("span", { class: `tok c${colour % 5} ${extra}` }, isolated(text));

// ---- The merges of a pre-token

function merges(data, root) {
  if (!data.pieces.length) return;
  const stage = make("div", { class: "stage" });
  const show = (number) => {
    const piece = data.pieces[number];
    const parts = make("div", { class: "parts", "aria-live": "polite" });
    const words = make("p", { class: "happens" });
    const history = make("table", { class: "pairs history" });
    const tree = treeOf(piece);
    const control = stepper("merge", piece.merges.length,
      (step) => `merge ${step} of ${piece.merges.length}`,
      (step) => {
        const state = [...piece.parts];
        for (const merge of piece.merges.slice(0, step)) state.splice(merge.at, 2, merge.made);
        const fresh = step ? piece.merges[step - 1].at : -1;
        parts.replaceChildren(...state.map((text, i) => box(text, i, i === fresh ? "fresh" : "")));
        words.replaceChildren(...whatHappens(piece, step));
        history.replaceChildren(...historyRows(piece, step));
        tree.go(step);
      });
    stage.replaceChildren(control.element, parts, words,
      make("div", { class: "split" }, tree.element, make("div", { class: "scroll" }, history)));
    control.go(piece.merges.length);
  };
  root.append(
    choices("pre-token", data.pieces.map((piece) => piece.text), data.start, show), stage);
  show(data.start);
}

const MOST_NAMED = 12;

function whatHappens(piece, step) {
  if (piece.whole) {
    return ["This pre-token is a token as it stands, with id ", make("b", {}, String(piece.tokens[0][1])),
      ": it is taken whole, without merging."];
  }
  const next = piece.merges[step];
  if (!next) {
    return [piece.more ? `${plural(piece.more, "more merge")} later no pair of neighbours has a rank. `
      : "No pair of neighbours has a rank: done. ", piece.tokens.length === 1 ? "The token is " : "The tokens are ",
      ...piece.tokens.slice(0, MOST_NAMED).flatMap(([text, id], i) => [i ? ", " : "", make("b", {}, isolated(text)), ` (id ${id})`]),
      piece.tokens.length > MOST_NAMED ? ` and ${piece.tokens.length - MOST_NAMED} more.` : "."];
  }
  const more = next.choices - next.pairs.length;
  return [`${plural(next.choices, "pair")} of neighbours ${next.choices === 1 ? "has" : "have"} a rank: `,
    ...next.pairs.flatMap(([left, right, rank], i) => [i ? ", " : "",
      make(i ? "span" : "b", {}, isolated(left), " + ", isolated(right), ` (${rank})`)]),
    more > 0 ? ` and ${more} more. ` : ". ", "The lowest is joined next."];
}

/** All merges, with a mark at the one just made; those to come stand back. */
function historyRows(piece, step) {
  const rows = piece.merges.map((merge, i) => {
    const [left, right, rank] = merge.pairs[0];
    const kind = i + 1 === step ? "winner" : i + 1 > step ? "future" : "";
    return make("tr", { class: kind, "aria-current": i + 1 === step ? "step" : null },
      make("td", { class: "number" }, String(i + 1)), make("td", {}, isolated(left), " + ", isolated(right)),
      make("td", {}, "→ ", isolated(merge.made)), make("td", { class: "number" }, String(rank)),
      make("td", { class: "number" }, String(merge.id)));
  });
  if (!rows.length) return [];
  return [make("thead", {}, make("tr", {}, ["merge", "pair", "becomes", "rank", "id"].map((name) =>
    make("th", { scope: "col" }, name)))), make("tbody", {}, rows)];
}

/** The tree of merges: bytes at the bottom, each merge above what it joined. */
function treeOf(piece) {
  const gap = 46, rise = 44;
  const parts = piece.parts.map((text, i) => ({ x: gap * (i + 0.5), height: 0, text, detail: piece.bytes[i] }));
  const nodes = [...parts], links = [];
  piece.merges.forEach((merge, step) => {
    const [left, right] = parts.slice(merge.at, merge.at + 2);
    const node = {
      x: (left.x + right.x) / 2, height: 1 + Math.max(left.height, right.height),
      text: merge.made, detail: String(merge.id), step: step + 1,
    };
    parts.splice(merge.at, 2, node);
    nodes.push(node);
    links.push([node, left], [node, right]);
  });
  const top = Math.max(0, ...nodes.map((node) => node.height));
  const y = (node) => 22 + rise * (top - node.height);
  const svg = make("svg", {
    class: "tree-picture", role: "img", width: Math.max(gap * piece.parts.length, 90), height: 52 + rise * top,
    "aria-label": `merge tree of ${piece.text}: ${piece.merges.map((m) => m.made).join(", ")}`,
  });
  const drawn = [];
  for (const [node, child] of links) {
    const line = make("path", { d: `M${node.x} ${y(node) + 21}V${y(node) + 27}H${child.x}V${y(child) - 12}` });
    svg.append(line);
    drawn.push([line, node.step]);
  }
  for (const node of nodes) {
    const group = make("g", {},
      make("text", { x: node.x, y: y(node) + 4, class: "name" }, node.text),
      make("text", { x: node.x, y: y(node) + 15, class: "detail" }, node.detail));
    const width = Math.max(22, 9 * [...node.text].length + 10);
    group.prepend(make("rect", { x: node.x - width / 2, y: y(node) - 12, width, height: 33, rx: 6 }));
    svg.append(group);
    drawn.push([group, node.step ?? 0]);
  }
  return {
    element: make("div", { class: "scroll" }, svg),
    go: (step) => drawn.forEach(([element, from]) => {
      element.classList.toggle("future", from > step);
      element.classList.toggle("now", from === step && step > 0);
    }),
  };
}

// ---- Training

function training(data, root) {
  const words = make("div", { class: "words" });
  const pairs = make("table", { class: "pairs counts" });
  const happens = make("p", { class: "happens", "aria-live": "polite" });
  const curve = curveOf([data.start, ...data.rounds.map((round) => round.tokens)]);
  const control = stepper("round", data.rounds.length,
    (step) => `round ${step} of ${data.rounds.length}`,
    (step) => {
      const tokensNow = step ? data.rounds[step - 1].tokens : data.start;
      happens.replaceChildren(...roundSaid(data, step), ` The text is ${plural(tokensNow, "token")} long.`);
      pairs.replaceChildren(...countRows(data.rounds[step], data.rule));
      words.replaceChildren(...data.words.map(([ids, count]) => word(data, ids, count, data.rounds.slice(0, step))));
      if (data.more) words.append(make("span", { class: "quiet" }, `and ${plural(data.more, "more pre-token")}`));
      curve.go(step);
    });
  root.append(control.element, happens,
    make("div", { class: "split" }, make("div", { class: "scroll" }, pairs), curve.element),
    make("h3", {}, "The different pre-tokens of the text, as they are split by now"), words);
  control.go(0);
}

function roundSaid(data, step) {
  if (!step) return ["Every byte is a token."];
  const round = data.rounds[step - 1];
  const [left, right, count] = round.pairs[0];
  const why = round.tied > 1
    ? `, like ${plural(round.tied - 1, "other pair")}; the rule chose it (${data.rule})`
    : ", more often than any other";
  return [isolated(left), " and ", isolated(right), ` stood side by side ${plural(count, "time")}${why}. They became `,
    make("b", {}, isolated(round.made)), `, id ${round.id}.`];
}

function countRows(round, rule) {
  if (!round) return [make("tbody", {}, make("tr", {}, make("td", {}, "The vocabulary is full.")))];
  const most = round.pairs[0][2];
  const rows = round.pairs.map(([left, right, count], i) =>
    make("tr", { class: i ? "" : "winner" },
      make("td", {}, isolated(left), " + ", isolated(right)),
      make("td", { class: "number" }, String(count)),
      make("td", { class: "ratio" }, make("span", { class: "bar-of", style: `--w:${count / most}` })),
      make("td", {}, i ? (count === most ? "as many" : "") : round.tied > 1 ? "◀ joined next: " + rule : "◀ joined next")));
  const more = round.kinds - round.pairs.length;
  if (more > 0) rows.push(make("tr", {}, make("td", { colspan: 4, class: "quiet" }, `and ${more} more kinds of pairs`)));
  return [make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "pair"),
    make("th", { scope: "col" }, "count"), make("th", {}), make("th", {}))), make("tbody", {}, rows)];
}

/** A word as it is cut after some rounds: the merges so far, one after the other. */
function word(data, ids, count, rounds) {
  const joined = rounds.reduce((parts, round) => join(parts, round.joins, round.id), ids);
  const name = (id) => (id < 256 ? data.bytes[id] : data.rounds[id - 256].made);
  return make("span", { class: "word" }, joined.map((id, i) => box(name(id), i)), make("small", {}, `×${count}`));
}

/** Every occurrence of a pair becomes one id, from left to right. */
function join(ids, [left, right], id) {
  const joined = [];
  for (let i = 0; i < ids.length; i++) {
    const here = ids[i] === left && ids[i + 1] === right;
    joined.push(here ? id : ids[i]);
    if (here) i++;
  }
  return joined;
}

function curveOf(lengths) {
  const width = 300, height = 130, most = lengths[0] || 1;
  const x = (i) => 44 + (i / Math.max(1, lengths.length - 1)) * (width - 54);
  const y = (n) => 10 + (1 - n / most) * (height - 36);
  const dot = make("circle", { r: 5 });
  const label = make("text", { class: "detail" });
  const svg = make("svg", { class: "curve", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "tokens in the text after each round" },
    make("line", { x1: 44, y1: y(0), x2: width - 10, y2: y(0) }), make("line", { x1: 44, y1: y(0), x2: 44, y2: 8 }),
    make("polyline", { points: lengths.map((n, i) => `${x(i)},${y(n)}`).join(" ") }),
    make("text", { x: 34, y: y(most) + 4, class: "detail end" }, String(most)),
    make("text", { x: 34, y: y(0) + 4, class: "detail end" }, "0"),
    make("text", { x: (width + 44) / 2, y: height - 6, class: "detail" }, "rounds"), dot, label);
  return {
    element: make("figure", {}, svg, make("figcaption", {}, "tokens in the text")),
    go: (step) => {
      dot.setAttribute("cx", x(step));
      dot.setAttribute("cy", y(lengths[step]));
      label.textContent = lengths[step];
      label.setAttribute("x", Math.max(72, Math.min(x(step), width - 16)));
      label.setAttribute("y", y(lengths[step]) - 10);
    },
  };
}

// ---- The automaton of a split pattern

function pattern(data, root) {
  const said = make("p", { class: "happens", "aria-live": "polite" });
  const text = make("div", { class: "parts looked" });
  const drawn = document.querySelectorAll("#pattern [data-state], #pattern [data-arrow], #pattern [data-cell]");
  const control = stepper("look-up", data.steps.length - 1,
    (step) => `look-up ${step + 1} of ${data.steps.length}`,
    (step) => {
      const { state, column, target, at, start, cuts, cell, said: meaning } = data.steps[step];
      text.replaceChildren(...data.text.map((character, i) => box(character, cuts.filter((cut) => cut <= i && i < start).length,
        `${i < start ? "past" : ""} ${i === at ? "next" : ""} ${i && (i === start || cuts.includes(i)) ? "edge" : ""}`)));
      said.replaceChildren("State ", make("b", {}, String(state)), ", then ", make("b", {}, isolated(data.text[at])), ": ",
        make("code", {}, cell), " – ", isolated(meaning), ".");
      const now = [`${state}`, `${state}-${target}`, `${state}-${column}`];
      drawn.forEach((element) => element.classList.toggle("now",
        element.dataset.state === now[0] || element.dataset.arrow === now[1] || element.dataset.cell === now[2]));
    });
  root.append(control.element, text, said);
  control.go(0);
}

// ---- Attention

const WINDOW = 12; // rows and columns of the table that are shown at once
const STAGES = [
  ["scores", "scores"], ["shifted", "less the largest"], ["exponentials", "exponentials"], ["weights", "weights"],
];

/** What is chosen on the page: the causal switch, a head, a cell; views redraw when it changes. */
function chosen(data) {
  const views = [];
  return {
    data, causal: data.causal, head: 0, row: data.cell[0], column: data.cell[1], dimension: null, stage: "weights",
    get now() { return (this.causal ? data.masked : data.full)[this.head]; },
    masked(row, column) { return this.causal && column > row; },
    number(stage, row, column) {
      if (!this.masked(row, column)) return this.now[stage][row][column];
      return stage === "scores" || stage === "shifted" ? MINUS_INFINITY : 0;
    },
    set(changes) {
      Object.assign(this, changes);
      this.row = clamp(this.row, data.tokens.length);
      this.column = clamp(this.column, data.keys.length);
      views.forEach((view) => view());
    },
    watch(view) { views.push(view); view(); },
  };
}

/** Asks whether any of some things of a choice are others than when they were last asked about. */
function changesOf(choice) {
  let before = "";
  return (...names) => {
    const now = names.map((name) => choice[name]).join();
    const changed = now !== before;
    before = now;
    return changed;
  };
}

const clamp = (i, length) => Math.max(0, Math.min(i, length - 1));

function attention(choice, root) {
  const { data } = choice;
  const keys = data.k ?? data.q, values = data.v ?? data.q;
  const matrix = make("div", { class: "scroll matrix" });
  const context = make("div", { class: "scroll matrix context" });
  const recipe = make("div", { class: "recipe", "aria-live": "polite" });
  const row = make("div", { class: "scroll row-table", tabindex: 0, role: "region", "aria-label": "the row, step by step" });
  const controls = make("div", { class: "bar" },
    choices("numbers", STAGES.map(([, label]) => label), 3, (i) => choice.set({ stage: STAGES[i][0] })),
    make("label", { class: "switch" },
      make("input", {
        type: "checkbox", role: "switch", class: "causal", checked: data.causal,
        onchange: (event) => choice.set({ causal: event.target.checked }),
      }), " causal mask"));
  if (data.full.length > 1) {
    controls.append(choices("head", data.full.map((_, i) => `head ${i}`), 0, (head) => choice.set({ head })));
  }
  const vectors = make("div", { class: "scroll vectors", tabindex: 0, role: "region", "aria-label": "vectors" });
  root.append(...[vectors, controls,
    data.keys.length > 7 // too wide to stand beside anything
      ? [matrix, make("div", { class: "split" }, context, recipe)]
      : make("div", { class: "split" }, make("div", {}, matrix, context), recipe),
    make("h3", { class: "row-title" }), row].flat());
  const [changed, changedHead] = [changesOf(choice), changesOf(choice)];
  choice.watch(() => {
    if (changedHead("head")) vectors.replaceChildren(...vectorTables(data, choice.head));
    drawMatrix(choice, matrix);
    drawContext(choice, context);
    recipe.replaceChildren(...(choice.dimension === null ? cellRecipe(choice, keys) : sumRecipe(choice, values)));
    if (changed("row", "head", "causal")) {
      root.querySelector(".row-title").replaceChildren("The whole row of ", isolated(data.tokens[choice.row]));
      row.replaceChildren(rowTable(choice, values));
    }
    row.querySelectorAll("tbody tr").forEach((line, j) =>
      line.classList.toggle("chosen", j === choice.column && choice.dimension === null));
    bringIntoView(row, row.querySelector(".chosen"));
  });
}

function vectorTables(data, head) {
  const named = data.plain ? [["vectors", data.q, data.tokens]]
    : [["queries", data.q, data.tokens], ["keys", data.k, data.keys], ["values", data.v, data.keys]];
  const most = Math.max(...named.flatMap(([, vectors]) => vectors.flat(2).map(Math.abs)), 0) || 1;
  return named.map(([name, vectors, labels]) => make("table", {}, make("caption", {}, name),
    make("tbody", {}, vectors[head].map((vector, i) => make("tr", {},
      make("th", { scope: "row" }, isolated(labels[i])),
      vector.map((number) => make("td", { class: "number shade", style: `--w:${Math.abs(number) / most}` }, number)))))));
}

/** The first of the rows or columns to show, so that the chosen one is among them. */
const firstShown = (at, length) => Math.max(0, Math.min(Math.floor(at - WINDOW / 2), length - WINDOW));

const range = (first, length) =>
  Array.from({ length: Math.min(WINDOW, length - first) }, (_, i) => first + i);

const label = (text) => make("span", { class: "label", title: text }, isolated(text));

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** A table of buttons: one stop of Tab, arrow keys from there. It keeps the focus when redrawn. */
function drawGrid(root, caption, heads, rows, [chosenRow, chosenColumn], onmove) {
  const held = root.contains(document.activeElement);
  root.replaceChildren(make("table", {
    onkeydown: (event) => {
      if (!ARROWS[event.key]) return;
      event.preventDefault();
      onmove(...ARROWS[event.key]);
    },
  },
  make("caption", {}, caption),
  make("thead", {}, make("tr", {}, make("th", {}), heads.map((text, j) =>
    make("th", { scope: "col", class: j === chosenColumn ? "on" : "" }, label(text))))),
  make("tbody", {}, rows.map(([text, cells], i) => make("tr", {},
    make("th", { scope: "row", class: i === chosenRow ? "on" : "" }, label(text)), cells)))));
  if (held) root.querySelector("button[tabindex='0']")?.focus({ preventScroll: true });
}

/** The part of the weights, or of what comes before them, that is around the chosen cell. */
function drawMatrix(choice, root) {
  const { data, row, column, stage } = choice;
  const rows = range(firstShown(row, data.tokens.length), data.tokens.length);
  const columns = range(firstShown(column, data.keys.length), data.keys.length);
  const cell = (i, j) => {
    const number = decimal(choice.number(stage, i, j));
    const shade = choice.masked(i, j) ? 0 : choice.number("exponentials", i, j) / 10000;
    const here = i === row && j === column;
    return make("td", { class: choice.masked(i, j) ? "masked" : "", style: `--w:${shade}` }, make("button", {
      type: "button", tabindex: here ? 0 : -1, "data-row": i, "data-column": j,
      "aria-pressed": String(here && choice.dimension === null),
      "aria-label": `${data.tokens[i]} to ${data.keys[j]}: ${number}`,
      onclick: () => choice.set({ row: i, column: j, dimension: null }),
    }, number));
  };
  const [, name] = STAGES.find(([key]) => key === stage);
  drawGrid(root, `${name}: rows look, columns are looked at`, columns.map((j) => data.keys[j]),
    rows.map((i) => [data.tokens[i], columns.map((j) => cell(i, j))]), [rows.indexOf(row), columns.indexOf(column)],
    (down, right) => choice.set({ row: row + down, column: column + right, dimension: null }));
  if (rows.length < data.tokens.length || columns.length < data.keys.length) {
    root.append(make("p", { class: "quiet" }, `rows ${rows[0] + 1} to ${rows.at(-1) + 1} of ${data.tokens.length}, `
      + `columns ${columns[0] + 1} to ${columns.at(-1) + 1} of ${data.keys.length}; the arrow keys go on`));
  }
}

/** The context vectors of the same rows. */
function drawContext(choice, root) {
  const { data, row, now } = choice;
  const size = now.context[0].length;
  const at = choice.dimension ?? 0;
  const columns = range(firstShown(at, size), size);
  const cell = (i, d) => make("td", { style: "--w:0" }, make("button", {
    type: "button", tabindex: i === row && d === at ? 0 : -1, "data-row": i, "data-dimension": d,
    "aria-pressed": String(i === row && d === choice.dimension),
    "aria-label": `context of ${data.tokens[i]}, number ${d + 1}: ${decimal(now.context[i][d])}`,
    onclick: () => choice.set({ row: i, dimension: d }),
  }, decimal(now.context[i][d])));
  const rows = range(firstShown(row, data.tokens.length), data.tokens.length);
  drawGrid(root, `context: each row is a sum of all ${data.plain ? "vectors" : "values"}, by its weights`, columns.map((d) => `number ${d + 1}`),
    rows.map((i) => [data.tokens[i], columns.map((d) => cell(i, d))]),
    [rows.indexOf(row), choice.dimension === null ? -1 : columns.indexOf(at)],
    (down, right) => choice.set({ row: row + down, dimension: clamp(at + right, size) }));
}

const step = (title, ...formulas) => make("li", {}, make("h4", {}, title),
  formulas.map((formula) => make("code", { class: "formula" }, formula)));

/** Where the weight of the chosen cell is from, in the steps of the softmax. */
function cellRecipe(choice, keys) {
  const { data, row, column, now, head } = choice;
  const names = [isolated(data.tokens[row]), isolated(data.keys[column])];
  const heading = make("h3", {}, names[0], " looks at ", names[1]);
  const products = data.q[head][row].map((a, d) => `${bracketed(a)}*${bracketed(keys[head][column][d])}`).join(" + ");
  const dot = data.scale ? `(${products}) * ${data.scale}` : products;
  if (choice.masked(row, column)) {
    return [heading, make("ol", {}, step("Mask", `${dot} is not looked at: the mask puts -inf in its place`),
      step("Exponential", "exp(-inf) = 0.0000"), step("Weight", "the weight is 0.0000")),
    make("p", { class: "moral" }, "With a causal mask a token sees itself and those before it, never one to come.")];
  }
  const score = decimal(now.scores[row][column]), shifted = decimal(now.shifted[row][column]);
  const exponential = decimal(now.exponentials[row][column]);
  const weight = decimal(now.weights[row][column]);
  const largest = bracketed(decimal(now.largest[row])), sum = decimal(now.sums[row]);
  return [heading, make("ol", {},
    step("Score: how alike they point", `${dot} ${data.equals} ${score}`),
    step("Less the largest score of the row", `${score} - ${largest} = ${shifted}`),
    step("Exponential", `exp(${shifted}) = ${exponential}`),
    step("Sum of the row", `${now.exponentials[row].map(decimal).join(" + ")} = ${sum}`),
    step("Weight: its share", `${exponential} / ${sum} = ${weight}`)), moral(choice)];
}

/** In a sentence, what the weight says. */
function moral(choice) {
  const { data, now, row, column } = choice;
  const weights = now.weights[row], most = Math.max(...weights.map(Number));
  const said = ["So ", isolated(data.tokens[row]), " takes ", make("b", {}, decimal(weights[column])), " of its context from ",
    row === column && data.plain ? "itself" : isolated(data.keys[column]), ". "];
  if (weights[column] === most) {
    said.push("Its score is the largest of the row: less itself it is 0, no number below 0 has as large an exponential as 0 has, "
      + "and so nothing in the row gets more. ");
  } else {
    const best = weights.indexOf(most);
    said.push("The largest weight of the row, ", make("b", {}, decimal(most)), ", goes to ", isolated(data.keys[best]), ". ");
  }
  const even = data.keys.length && !choice.causal ? data.keys.length : row + 1;
  said.push(`An even share would be 1/${even}.`);
  return make("p", { class: "moral" }, said);
}

/** Where one number of a context vector is from. */
function sumRecipe(choice, values) {
  const { data, row, now, dimension, head } = choice;
  const terms = now.weights[row].map((weight, j) => `${decimal(weight)}*${bracketed(values[head][j][dimension])}`);
  return [make("h3", {}, "Number ", String(dimension + 1), " of the context of ", isolated(data.tokens[row])),
    make("ol", {}, step("Each weight times that number of its vector, added up",
      `${terms.join(" + ")} = ${decimal(now.context[row][dimension])}`)),
    make("p", { class: "moral" }, "Tokens with a large weight pull it towards their own number.")];
}

function rowTable(choice, values) {
  const { data, row, now, head } = choice;
  const cells = (j) => STAGES.map(([stage]) => make("td", { class: "number" }, decimal(choice.number(stage, row, j))));
  const rows = data.keys.map((key, j) => make("tr", { class: choice.masked(row, j) ? "masked" : "" },
    make("th", { scope: "row" }, isolated(key)), cells(j),
    make("td", { class: "ratio" }, make("span", { class: "bar-of", style: `--w:${choice.masked(row, j) ? 0 : now.weights[row][j] / 10000}` })),
    make("td", { class: "number" }, "× ", values[head][j].join("  "))));
  const context = now.context[row].map(decimal).join("  ");
  const head_ = ["", ...STAGES.map(([, label]) => label), "", data.plain ? "vector" : "value"];
  return make("table", {}, make("thead", {}, make("tr", {}, head_.map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, rows),
    make("tfoot", {}, make("tr", {}, make("th", { scope: "row" }, "together"), make("td", {}), make("td", {}),
      make("td", { class: "number" }, decimal(now.sums[row])), make("td", { class: "number" }, decimal(now.shares[row])), make("td", {}, "context"),
      make("td", { class: "number" }, context))));
}

// ---- Weights from afar

/** The choice that a page without the steps of attention offers: weights alone. */
function onlyWeights(data) {
  const heads = data.weights.map((weights) => ({ weights }));
  return chosen({ ...data, full: heads, masked: heads, causal: false, cell: [0, 0], plain: false });
}

function heads(choice, root) {
  const { data } = choice;
  const said = make("p", { class: "figures", "aria-live": "polite" });
  const canvas = make("canvas", { tabindex: 0, role: "application", "aria-label": "heat map of the weights; the arrow keys move the chosen cell" });
  const lines = make("div", { class: "scroll lines" });
  if (choice.onlyWeights && data.full.length > 1) {
    root.append(choices("head", data.full.map((_, i) => `head ${i}`), 0, (head) => choice.set({ head })));
  }
  root.append(make("div", { class: "split even" }, make("div", { class: "scroll" }, canvas), lines), said);
  const size = Math.max(3, Math.min(44, Math.floor(480 / Math.max(1, data.tokens.length, data.keys.length))));
  const margin = size < 14 ? 4 : 84;
  const weightAt = (i, j) => (choice.masked(i, j) ? 0 : choice.now.weights[i][j]);
  const picture = document.createElement("canvas");
  const [changedMap, changedLines] = [changesOf(choice), changesOf(choice)];
  const draw = () => {
    canvas.width = picture.width; // which clears it
    const pen = canvas.getContext("2d");
    pen.drawImage(picture, 0, 0);
    pen.scale(devicePixelRatio || 1, devicePixelRatio || 1);
    pen.strokeStyle = getComputedStyle(document.body).color;
    pen.lineWidth = 2;
    pen.strokeRect(margin + size * choice.column, margin + size * choice.row, size + 1, size + 1);
  };
  const redraw = () => {
    drawHeat(picture, choice, size, margin, weightAt);
    Object.assign(canvas, { width: picture.width, height: picture.height });
    Object.assign(canvas.style, { width: picture.style.width, height: picture.style.height });
    draw();
  };
  canvas.addEventListener("click", (event) => choice.set({
    row: Math.floor((event.offsetY - margin) / size), column: Math.floor((event.offsetX - margin) / size), dimension: null,
  }));
  canvas.addEventListener("keydown", (event) => {
    const by = ARROWS[event.key];
    if (!by) return;
    event.preventDefault();
    choice.set({ row: choice.row + by[0], column: choice.column + by[1], dimension: null });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  choice.watch(() => {
    if (changedMap("head", "causal")) redraw();
    else draw();
    if (changedLines("row", "head", "causal")) drawLines(lines, choice, weightAt);
    said.replaceChildren(isolated(data.tokens[choice.row]), " → ", isolated(data.keys[choice.column]), "  ",
      make("b", {}, decimal(weightAt(choice.row, choice.column))));
  });
}

/** A square in each cell, its area as its share of the row's largest: no colour is needed. */
function drawHeat(canvas, choice, size, margin, weightAt) {
  const { data } = choice;
  const width = margin + size * data.keys.length + 4, height = margin + size * data.tokens.length + 4;
  const ratio = devicePixelRatio || 1;
  Object.assign(canvas, { width: width * ratio, height: height * ratio });
  Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  const pen = canvas.getContext("2d");
  const colour = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();
  pen.scale(ratio, ratio);
  pen.font = "12px ui-monospace, monospace";
  pen.textBaseline = "middle";
  const ink = colour("--ink"), accent = colour("--accent"), line = colour("--line");
  const short = (text) => ([...text].length > 10 ? [...text].slice(0, 9).join("") + "…" : text);
  if (size >= 14) {
    pen.fillStyle = ink;
    pen.textAlign = "right";
    data.tokens.forEach((text, i) => pen.fillText(short(text), margin - 6, margin + size * (i + 0.5)));
    pen.textAlign = "left";
    data.keys.forEach((text, j) => {
      pen.save();
      pen.translate(margin + size * (j + 0.5), margin - 6);
      pen.rotate(-Math.PI / 3.2);
      pen.fillText(short(text), 0, 0);
      pen.restore();
    });
  }
  pen.strokeStyle = line;
  pen.fillStyle = accent;
  data.tokens.forEach((_, i) => {
    const row = data.keys.map((_, j) => weightAt(i, j)), most = Math.max(1, ...row);
    row.forEach((weight, j) => {
      const x = margin + size * j, y = margin + size * i;
      if (size < 8) { // no room for squares: shades
        pen.globalAlpha = weight / most;
        pen.fillRect(x, y, size, size);
        return;
      }
      const side = (size - 4) * Math.sqrt(weight / most);
      pen.strokeRect(x + 0.5, y + 0.5, size, size);
      pen.fillRect(x + (size - side) / 2 + 0.5, y + (size - side) / 2 + 0.5, side, side);
    });
  });
}

const FEW = 24; // tokens whose lines can be told apart when all are drawn

function drawLines(lines, choice, weightAt) {
  const { data, row } = choice;
  const held = lines.contains(document.activeElement);
  const gap = 26, count = Math.max(data.tokens.length, data.keys.length);
  const short = (text) => ([...text].length > 12 ? [...text].slice(0, 11).join("") + "…" : text);
  const y = (i) => 18 + gap * i;
  const svg = make("svg", { width: 440, height: gap * count + 14, role: "group", "aria-label": "who looks at whom" });
  const from = data.tokens.length > FEW ? [row] : data.tokens.map((_, i) => i).filter((i) => i !== row).concat(row);
  for (const i of from) {
    data.keys.forEach((_, j) => {
      const weight = weightAt(i, j) / 10000;
      if (weight < 0.002) return;
      svg.append(make("path", {
        d: `M124 ${y(i)}C200 ${y(i)} 200 ${y(j)} 276 ${y(j)}`, class: i === row ? "line strong" : "line",
        "stroke-width": (0.4 + 12 * weight).toFixed(2),
      }));
    });
  }
  data.tokens.forEach((text, i) => svg.append(make("g", {
    class: i === row ? "end chosen" : "end", role: "button", tabindex: i === row ? 0 : -1, "aria-pressed": String(i === row),
    "aria-label": `lines from ${text}`, "data-row": i,
    onclick: () => choice.set({ row: i, dimension: null }),
    onkeydown: (event) => {
      const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (!by) return;
      event.preventDefault();
      choice.set({ row: choice.row + by, dimension: null });
    },
  }, make("rect", { x: 2, y: y(i) - 11, width: 120, height: 22, rx: 5 }),
  make("text", { x: 116, y: y(i) + 4, class: "right" }, short(text)))));
  data.keys.forEach((text, j) => svg.append(make("text", { x: 282, y: y(j) + 4 }, short(text)),
    make("text", { x: 438, y: y(j) + 4, class: "right weight" }, decimal(weightAt(row, j)))));
  lines.replaceChildren(svg);
  bringIntoView(lines, svg.querySelector(".chosen"));
  if (held) lines.querySelector("[tabindex='0']").focus({ preventScroll: true });
}

// ---- Begin

function start() {
  document.body.classList.add("scripted");
  tokens();
  const widget = (name) => document.querySelector(`#${name} .widget`);
  const found = (name) => (widget(name) ? dataOf(name) : null);
  const pieces = found("merges"), rounds = found("training"), steps = found("attention"), weights = found("heads");
  const lookUps = found("pattern");
  if (lookUps?.steps.length) pattern(lookUps, widget("pattern"));
  if (pieces) merges(pieces, widget("merges"));
  if (rounds) training(rounds, widget("training"));
  const choice = steps && steps.tokens.length && steps.keys.length ? chosen(steps) : null;
  if (choice) attention(choice, widget("attention"));
  if (choice && weights) heads(choice, widget("heads"));
  else if (weights?.tokens?.length && weights.keys.length) {
    heads(Object.assign(onlyWeights(weights), { onlyWeights: true }), widget("heads"));
  }
}

start();
