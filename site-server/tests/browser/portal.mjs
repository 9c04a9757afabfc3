// Walks the portal as two people do: a phone of 360 px without JavaScript in Japanese, a desktop with JavaScript in English.
// Then every page is looked at by axe-core in light and dark, small and large. Screenshots are kept.
//
// argv: a JSON file with url, people (user, password, card), sites (names), shots (folder), modules (folder).
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";

const told = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const require = createRequire(path.join(told.modules, "x.js"));
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
fs.mkdirSync(told.shots, { recursive: true });

const failures = [];
const check = (holds, what) => {
  if (!holds) failures.push(what);
};
const words = {
  en: { words: "2 words", line: "Line 2", taken: "the newest snapshot" },
  ja: { words: "2語", line: "2行目", taken: "最新のスナップショット" },
};
const good = Buffer.from("!Microsoft IME Dictionary Tool\r\nふろしき\t風呂敷\t名詞\r\nてがみ\t手紙\t名詞\r\n", "utf16le");
const dictionary = { name: "dictionary.txt", mimeType: "text/plain", buffer: Buffer.concat([Buffer.from([0xff, 0xfe]), good]) };
const broken = { name: "dictionary.txt", mimeType: "text/plain", buffer: Buffer.from("あ\t亜\t名詞\nいろは\n") };
const bookmarks = {
  name: "bookmarks.html",
  mimeType: "text/html",
  buffer: Buffer.from('<!DOCTYPE NETSCAPE-Bookmark-file-1>\n<DL><DT><A HREF="https://example.org/">Example</A></DL>'),
};

const browser = await chromium.launch({
  executablePath: told.chromium ?? "/usr/bin/chromium",
  args: ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps"],
});

const open = (size, language, scripts, scheme) =>
  browser.newContext({
    ignoreHTTPSErrors: true,
    viewport: size,
    locale: language === "ja" ? "ja-JP" : "en-US",
    javaScriptEnabled: scripts,
    colorScheme: scheme,
    reducedMotion: "reduce",
  });
const small = { width: 360, height: 740 };
const large = { width: 1280, height: 900 };

const walks = [
  { person: told.people[0], size: small, language: "ja", scripts: false, scheme: "light" },
  { person: told.people[1], size: large, language: "en", scripts: true, scheme: "dark" },
];
for (const walk of walks) {
  const name = `${walk.language}-${walk.size.width}-${walk.scripts ? "scripts" : "no-scripts"}`;
  const say = words[walk.language];
  const context = await open(walk.size, walk.language, walk.scripts, walk.scheme);
  const page = await context.newPage();
  page.setDefaultTimeout(15000);
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  page.on("pageerror", (error) => failures.push(`${name}: ${error}`));
  page.on("console", (message) => message.type() === "error" && !/40[0-9]|422/.test(message.text()) && failures.push(`${name}: ${message.text()}`));
  const shot = (title) => page.screenshot({ path: path.join(told.shots, `${name}-${title}.png`), fullPage: true });
  const go = (at) => page.goto(told.url + at);
  const press = (selector) => page.locator(selector).click();

  // Registration: a broken file first, then all of figure 5.
  await go("/");
  await press('a[href="/register"]');
  check((await page.locator("html").getAttribute("lang")) === walk.language, `${name}: language of the page`);
  const fill = async (file) => {
    await page.fill("#user", walk.person.user);
    await page.fill("#card", walk.person.card);
    await page.fill("#password", walk.person.password);
    for (const [field, value] of [["account", "hanako"], ["address", "hanako@example.org"], ["display_name", "山田 花子"],
      ["incoming_server", "imap.example.org"], ["smtp_server", "smtp.example.org"]]) await page.fill(`#${field}`, value);
    await page.setInputFiles("#dictionary", file);
    await page.setInputFiles("#bookmarks", bookmarks);
    await press("main form button:not([class])");
  };
  await fill(broken);
  check((await page.locator('[role="alert"]').innerText()).includes(say.line), `${name}: the line of a bad file is told`);
  await page.locator('[role="alert"] a').first().click();
  check(new URL(page.url()).hash === "#dictionary", `${name}: the summary leads to the field`);
  check((await page.inputValue("#account")) === "hanako", `${name}: what was typed stays`);
  await shot("register-refused");
  await fill(dictionary);
  check(new URL(page.url()).pathname === "/settings", `${name}: registered, at ${page.url()}`);
  check((await page.locator("main").innerText()).includes(say.words), `${name}: counts are shown`);
  await shot("settings");

  // Next site: two at once, one taken back; progress.
  await press('nav a[href="/next-site"]');
  const boxes = page.locator('input[name="site"][type="checkbox"]');
  check((await boxes.count()) >= 2, `${name}: sites are offered`);
  await boxes.nth(0).check();
  await boxes.nth(1).check();
  await page.fill("#arrives", "2099-12-24T09:30");
  await press('form[action="/next-site"] button');
  check((await page.locator("main").innerText()).includes("2099-12-24 09:30"), `${name}: the arrival is shown`);
  const chosen = await page.locator(".chosen > li").count();
  await page.locator('form[action="/next-site/cancel"] button').first().click();
  check((await page.locator(".chosen > li").count()) === chosen - 1, `${name}: one is taken back`);
  check((await page.locator(".chosen progress").count()) >= 1, `${name}: progress is shown`);
  await shot("next-site");

  // Environment: copies, history.
  await press('nav a[href="/environment"]');
  check((await page.locator("main").innerText()).includes(say.taken), `${name}: where the newest snapshot is`);
  check((await page.locator("tbody tr").count()) >= 1, `${name}: history`);
  await shot("environment");
  await press('nav a[href="/account"]');
  await shot("account");
  await go("/account/second-factor");
  check(await page.locator("svg[role=img]").isVisible(), `${name}: a code to scan`);
  await shot("second-factor");

  // Nothing is wider than the screen; nothing comes from elsewhere.
  for (const at of ["/", "/register", "/environment", "/next-site", "/settings", "/settings/mail", "/account", "/account/second-factor"]) {
    await go(at);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    check(wide <= 0, `${name}: ${at} is ${wide} px too wide`);
  }
  check(asked.every((url) => url.startsWith(told.url)), `${name}: everything comes from the site`);
  // The other language, by choice, stays.
  await go("/environment");
  await press("footer a[hreflang]");
  check((await page.locator("html").getAttribute("lang")) !== walk.language, `${name}: the other language`);
  await page.locator("header form button").click();
  check(new URL(page.url()).pathname === "/", `${name}: signed out`);
  await page.fill("#user", walk.person.user);
  await page.fill("#password", walk.person.password);
  await press("main form button");
  check(new URL(page.url()).pathname === "/environment", `${name}: signed in again`);
  await context.close();
}

// axe-core: no serious or critical issue on any page, light and dark, small and large.
const person = told.people[1];
for (const [size, scheme, language] of [[small, "dark", "ja"], [large, "light", "en"]]) {
  const context = await open(size, language, true, scheme);
  const page = await context.newPage();
  const look = async (at, title) => {
    if (at) await page.goto(told.url + at);
    await page.evaluate(axe);
    // A page with a relay under way loads itself again: without scripts nothing else shows progress. It carries no form
    // that is being filled in but the list of sites, and that one waits longer.
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"], rules: { "meta-refresh": { enabled: false } } }));
    for (const one of violations.filter((one) => ["serious", "critical"].includes(one.impact))) {
      const where = one.nodes.slice(0, 3).map((node) => `${node.target} ${node.failureSummary?.split("\n")[1] ?? ""}`).join("; ");
      failures.push(`axe ${title} ${scheme} ${size.width}: ${one.id}: ${one.help}: ${where}`);
    }
    await page.screenshot({ path: path.join(told.shots, `axe-${scheme}-${size.width}-${title}.png`), fullPage: true });
  };
  await look("/", "sign-in");
  await look("/register", "register");
  await page.locator("main form button:not([class])").evaluate((button) => (button.form.noValidate = true));
  await page.locator("main form button:not([class])").click();
  await look(null, "register-errors");
  await page.goto(told.url + "/");
  await page.fill("#user", person.user);
  await page.fill("#password", person.password);
  await page.locator("main form button").click();
  for (const at of ["/environment", "/next-site", "/settings", "/settings/mail", "/settings/input", "/settings/browser", "/account", "/account/second-factor", `/leave?site=${told.here}`]) {
    await look(at, at.slice(1).replace(/\W+/g, "-").slice(0, 30));
  }
  await context.close();
}
await browser.close();
if (failures.length > 0) {
  console.error(failures.join("\n"));
  process.exit(1);
}
console.log("ok");
