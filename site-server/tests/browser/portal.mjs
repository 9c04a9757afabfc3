// Walks the portal as two people do: a phone of 360 px without JavaScript in Japanese, a desktop with JavaScript in English.
// Then every page is looked at by axe-core in light and dark, small and large, and reached with Tab. Screenshots are kept.
//
// argv: see lib.mjs; people (user, password, card), here (this site).
import { accessible, check, end, large, open, reachable, small, told } from "./lib.mjs";

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

const walks = [
  { person: told.people[0], size: small, language: "ja", scripts: false, scheme: "light" },
  { person: told.people[1], size: large, language: "en", scripts: true, scheme: "dark" },
];
for (const walk of walks) {
  const say = words[walk.language];
  const { page, name, go, press, shot, fits, close } = await open(walk);

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
  // Followed live by who asks for it, and no longer than that.
  await press('.live a[href="/next-site?live=1"]');
  await page.waitForEvent("load");
  check(new URL(page.url()).search === "?live=1", `${name}: the page was loaded again by itself`);
  await shot("next-site-live");
  await press('.live a[href="/next-site"]');
  check((await page.locator(".live a").count()) === 2, `${name}: and stops when told`);
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

  for (const at of ["/", "/register", "/environment", "/next-site", "/settings", "/settings/mail", "/account", "/account/second-factor"]) {
    await go(at);
    await fits(at);
  }
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
  await close();
}

// axe-core: no serious or critical issue on any page, light and dark, small and large. Keyboard: on each of the kinds of pages.
const person = told.people[1];
for (const [size, scheme, language] of [[small, "dark", "ja"], [large, "light", "en"]]) {
  const { page, go, close } = await open({ size, language, scripts: true, scheme });
  const look = async (at, title) => {
    if (at) await go(at);
    await accessible(page, `${scheme}-${size.width}-${title}`);
  };
  await look("/", "sign-in");
  await reachable(page, `sign-in ${size.width}`);
  await look("/register", "register");
  await page.locator("main form button:not([class])").evaluate((button) => (button.form.noValidate = true));
  await page.locator("main form button:not([class])").click();
  await look(null, "register-errors");
  await go("/");
  await page.fill("#user", person.user);
  await page.fill("#password", person.password);
  await page.locator("main form button").click();
  for (const at of ["/environment", "/next-site", "/next-site?live=1", "/settings", "/settings/mail", "/settings/input", "/settings/browser", "/account", "/account/second-factor", `/leave?site=${told.here}`]) {
    await look(at, at.slice(1).replace(/\W+/g, "-").slice(0, 30));
  }
  for (const at of ["/environment", "/next-site", "/settings/mail", "/account"]) {
    await go(at);
    await reachable(page, `${at} ${size.width}`);
  }
  await close();
}
await end();
