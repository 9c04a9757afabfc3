// What the walks through the portal and the desk share: a browser, what a good page is, and where failures are kept.
//
// argv: a JSON file with url, shots (folder), modules (folder), and what the walk needs.
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";

export const told = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const require = createRequire(path.join(told.modules, "x.js"));
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
fs.mkdirSync(told.shots, { recursive: true });

export const failures = [];
export const check = (holds, what) => {
  if (!holds) failures.push(what);
};

export const browser = await chromium.launch({
  executablePath: told.chromium ?? "/usr/bin/chromium",
  args: ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps"],
});

export const small = { width: 360, height: 740 };
export const large = { width: 1280, height: 900 };

// A browser of somebody: { size, language, scripts, scheme }.
export const open = async ({ size, language, scripts, scheme }) => {
  const context = await browser.newContext({
    ignoreHTTPSErrors: true,
    viewport: size,
    locale: language === "ja" ? "ja-JP" : "en-US",
    javaScriptEnabled: scripts,
    colorScheme: scheme,
    reducedMotion: "reduce",
  });
  const name = `${language}-${size.width}-${scripts ? "scripts" : "no-scripts"}`;
  const page = await context.newPage();
  page.setDefaultTimeout(60000);
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  page.on("pageerror", (error) => failures.push(`${name}: ${error}`));
  page.on("console", (message) => message.type() === "error" && !/40[0-9]|422/.test(message.text()) && failures.push(`${name}: ${message.text()}`));
  return {
    context,
    page,
    name,
    go: (at) => page.goto(told.url + at),
    press: (selector) => page.locator(selector).click(),
    shot: (title) => page.screenshot({ path: path.join(told.shots, `${name}-${title}.png`), fullPage: true }),
    at: () => new URL(page.url()).pathname,
    text: () => page.locator("main").innerText(),
    // Nothing is wider than the screen.
    fits: async (title) => {
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      check(wide <= 0, `${name}: ${title} is ${wide} px too wide`);
    },
    // Nothing comes from elsewhere.
    close: async () => {
      check(asked.every((url) => url.startsWith(told.url)), `${name}: everything comes from the site`);
      await context.close();
    },
  };
};

// axe-core with every rule it has: no serious or critical issue.
export const accessible = async (page, title) => {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  for (const one of violations.filter((one) => ["serious", "critical"].includes(one.impact))) {
    const where = one.nodes.slice(0, 3).map((node) => `${node.target} ${node.failureSummary?.split("\n")[1] ?? ""}`).join("; ");
    failures.push(`axe ${title}: ${one.id}: ${one.help}: ${where}`);
  }
  await page.screenshot({ path: path.join(told.shots, `axe-${title}.png`), fullPage: true });
};

// Tab reaches everything one can use, in the order of the page, and shows where one is. The first is the way past the links.
export const reachable = async (page, title) => {
  const wanted = await page.evaluate(() => {
    const all = [...document.querySelectorAll("a[href], button, input, select, textarea, [tabindex='0']")];
    const usable = all.filter((one) => one.type !== "hidden" && !one.disabled && one.getClientRects().length > 0);
    usable.forEach((one, place) => (one.dataset.place = String(place)));
    return usable.length;
  });
  const seen = [];
  // A field for date and time takes a Tab for each of its parts.
  for (let step = 0; seen.length < wanted && step < wanted + 16; step += 1) {
    await page.keyboard.press("Tab");
    const now = await page.evaluate(() => {
      const one = document.activeElement;
      const style = getComputedStyle(one);
      const box = one.getBoundingClientRect();
      return {
        place: Number(one.dataset.place ?? -1),
        what: `${one.tagName} ${one.textContent.trim().slice(0, 20)}`,
        skip: one.getAttribute("href") === "#main",
        outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
        shown: box.right > 0 && box.bottom > 0 && box.width > 0,
      };
    });
    if (now.place !== seen.at(-1)?.place) seen.push(now);
  }
  check(seen.length === wanted, `${title}: Tab reaches ${seen.length} of ${wanted}`);
  check(seen[0]?.skip, `${title}: the first Tab leads past the links`);
  seen.forEach((one, place) => {
    check(one.place === place, `${title}: Tab ${place + 1} reaches ${one.what}`);
    check(one.outlined && one.shown, `${title}: one sees that ${one.what} is chosen`);
  });
};

export const end = async () => {
  await browser.close();
  if (failures.length > 0) {
    console.error(failures.join("\n"));
    process.exit(1);
  }
  console.log("ok");
};
