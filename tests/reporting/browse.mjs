// Opens pages in headless Chromium and prints what it finds, one JSON object.
// Arguments: a JSON list of {name, url}, and a folder for the screenshots.
import chromium from "@sparticuz/chromium";
import puppeteer from "puppeteer-core";

const [pages, screenshots] = [JSON.parse(process.argv[2]), process.argv[3]];
const VIEWS = [
  { width: 1280, scheme: "light" }, { width: 1280, scheme: "dark" },
  { width: 420, scheme: "light" }, { width: 420, scheme: "dark" },
];

// In the page: what a reader sees, and what is wrong with it.
function look() {
  const root = document.documentElement;
  const light = (color) => {
    const [r, g, b] = color.match(/[\d.]+/g).slice(0, 3).map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (!/, 0\)$/.test(color)) return color; // not transparent
    }
    return "rgb(255, 255, 255)";
  };
  const faint = [];
  for (const element of document.body.querySelectorAll("*:not(svg):not(svg *):not(script)")) {
    const owns = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!owns) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faint.push(`${contrast.toFixed(1)}: ${element.textContent.slice(0, 60)}`);
  }
  const box = (element) => element.getBoundingClientRect();
  const images = [...document.images];
  // Words of a drawing that lie on others, or beyond its edges: with a margin for what is rounded.
  const [crossing, cut] = [[], []];
  for (const svg of document.querySelectorAll(".drawing svg")) {
    const edge = box(svg);
    const words = [...svg.querySelectorAll("text")].filter((text) => text.textContent.trim());
    const boxes = words.map((text) => [text.textContent.trim(), box(text)]);
    for (const [at, [one, a]] of boxes.entries()) {
      if (a.left < edge.left - 2 || a.right > edge.right + 2) cut.push(`${svg.id}: ${one}`);
      else if (a.top < edge.top - 2 || a.bottom > edge.bottom + 2) cut.push(`${svg.id}: ${one}`);
      for (const [other, b] of boxes.slice(at + 1)) {
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        const small = [a, b].map((r) => Math.min(r.width, r.height)); // the height of its letters
        if (Math.min(wide, high) > Math.min(...small) / 3) crossing.push(`${svg.id}: ${one}, ${other}`);
      }
    }
  }
  return {
    text: document.body.innerText,
    ground: light(ground(document.body)),
    overflow: root.scrollWidth - root.clientWidth,
    images: images.length,
    missing: images.filter((i) => !i.complete || !i.naturalWidth || !box(i).width).map((i) => i.alt),
    drawings: document.querySelectorAll(".drawing svg").length,
    empty: [...document.querySelectorAll(".drawing svg")].filter((s) => box(s).height < 20).length,
    links: [...document.querySelectorAll("a[href]")].map((link) => link.getAttribute("href")),
    lost: [...document.querySelectorAll('a[href^="#"]')]
      .map((link) => link.getAttribute("href"))
      .filter((href) => !document.getElementById(decodeURIComponent(href.slice(1)))),
    sections: [...document.querySelectorAll("section")]
      .map((section) => ({ name: section.id, text: section.innerText.trim() })),
    spilled: [...document.querySelectorAll("figcaption, .tile, .facts div, h1, h2, h3, li, nav")]
      .filter((element) => element.scrollWidth > element.clientWidth + 1)
      .map((element) => element.textContent.trim().slice(0, 60)),
    crossing,
    cut,
    faint,
  };
}

// In the page: presses every heading of every table, twice, and says what the column holds then.
function press() {
  const found = [];
  for (const [at, table] of [...document.querySelectorAll("table.sortable")].entries()) {
    for (let column = 0; column < table.tHead.rows[0].cells.length; column++) {
      const head = table.tHead.rows[0].cells[column];
      const isNumber = head.classList.contains("number");
      for (let time = 0; time < 2; time++) {
        head.querySelector("button").click();
        const cells = [...table.tBodies[0].rows].map((row) => row.cells[column]);
        found.push({
          table: at, column, title: head.textContent, isNumber, order: head.ariaSort,
          values: cells.map((cell) => (isNumber ? cell.dataset.key ?? "" : cell.textContent)),
        });
      }
    }
  }
  return found;
}

const browser = await puppeteer.launch({
  args: [...chromium.args, "--no-sandbox"],
  executablePath: await chromium.executablePath(),
  headless: "shell",
});
const found = {};
for (const { name, url } of pages) {
  found[name] = { views: [] };
  for (const { width, scheme, scripts } of [
    ...VIEWS.map((view) => ({ ...view, scripts: true })),
    { width: 1280, scheme: "light", scripts: false },
  ]) {
    const page = await browser.newPage();
    const said = [];
    const asked = [];
    page.on("console", (message) => said.push(message.text()));
    page.on("pageerror", (error) => said.push(String(error)));
    page.on("request", (request) => asked.push(request.url()));
    await page.setJavaScriptEnabled(scripts);
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await page.setViewport({ width, height: 900 });
    await page.goto(url);
    const view = await page.evaluate(look);
    if (scripts) {
      const path = `${screenshots}/${name}-${width}-${scheme}.png`;
      await page.screenshot({ path, fullPage: true });
      view.sorted = width === 1280 ? await page.evaluate(press) : [];
    } else {
      view.buttons = await page.evaluate(() => document.querySelectorAll("th button").length);
    }
    const outside = asked.filter((address) => address !== url && !address.startsWith("data:"));
    found[name].views.push({ width, scheme, scripts, said, outside, ...view });
    await page.close();
  }
  const paper = await browser.newPage();
  await paper.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "dark" }]);
  await paper.emulateMediaType("print");
  await paper.setViewport({ width: 700, height: 1000 }); // A4 between its margins
  await paper.goto(url);
  found[name].print = await paper.evaluate(look);
  await paper.screenshot({ path: `${screenshots}/${name}-print.png`, fullPage: true });
  await paper.close();
}
await browser.close();
console.log(JSON.stringify(found));
