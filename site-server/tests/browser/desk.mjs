// Walks the desk as its staff does. Two walks do something, on a phone of 360 px without JavaScript in Japanese and at a
// desktop with JavaScript in English; then every page is looked at in all combinations of screen, scripts and language by
// operator, help desk and auditor, by axe-core in light and dark, and reached with Tab. Screenshots are kept.
//
// argv: see lib.mjs; staff (operator, helper, auditor), password, user (name, id), walks (registration, pc, card owner).
import { accessible, check, end, large, open, reachable, small, told } from "./lib.mjs";

const words = {
  en: { done: "Done.", wrong: "wrong", disabled: "disabled", good: "not used yet", back: "withdrawn", gone: "revoked", mine: "My account" },
  ja: { done: "完了しました。", wrong: "違います", disabled: "停止中", good: "未使用", back: "取り消し済み", gone: "失効", mine: "自分のアカウント" },
};
const rooms = {
  operator: ["overview", "users", "invitations", "pcs", "sites", "relays", "releases", "policies", "audit", "staff"],
  helper: ["overview", "users", "invitations", "pcs", "sites", "relays", "releases", "policies"],
  auditor: ["overview", "users", "invitations", "pcs", "sites", "relays", "releases", "policies", "audit", "staff"],
};
const signIn = async ({ page, go, press }, name, password = told.password) => {
  await go("/admin");
  await page.fill('input[name="name"]', name);
  await page.fill('input[name="password"]', password);
  await press("main form button");
};
const form = (at) => `main form[action="/admin${at}"]`;

for (const walk of told.walks) {
  const size = walk.small ? small : large;
  const on = await open({ size, language: walk.language, scripts: !walk.small, scheme: walk.small ? "light" : "dark" });
  const { page, name, go, press, shot, text } = on;
  const say = words[walk.language];
  const done = async (what) => {
    const told = page.locator('[role="status"]');
    check((await told.count()) === 1 && (await told.innerText()).includes(say.done), `${name}: ${what}: says that it is done, at ${page.url()}`);
  };

  await signIn(on, told.staff.operator, "not the password");
  check((await page.locator('[role="alert"]').innerText()).includes(say.wrong), `${name}: a wrong password is told`);
  await shot("desk-sign-in-wrong");
  await signIn(on, told.staff.operator);
  check(on.at() === "/admin/overview", `${name}: signed in, at ${page.url()}`);
  check((await page.locator("html").getAttribute("lang")) === walk.language, `${name}: language of the desk`);
  check((await page.locator("main progress").count()) === 3, `${name}: what moved against full mirroring`);

  // A user: found, stopped, let in again, and not removed by a name that was mistyped.
  await press('nav a[href="/admin/users"]');
  await page.fill('input[name="search"]', told.user.name.slice(0, 4));
  await press(`${form("/users")} button`);
  await press(`main td a >> text="${told.user.name}"`);
  await press(`${form("/users/disable")} button`);
  await done("disable");
  check((await text()).includes(say.disabled), `${name}: the user is stopped`);
  await press(`${form("/users/enable")} button`);
  await done("enable");
  await page.fill(`${form("/users/quota")} input[name="bytes"]`, "5000000000");
  await press(`${form("/users/quota")} button`);
  check((await text()).includes("5.0 GB"), `${name}: the quota is set`);
  await press(`${form("/users/remove")} button`);
  await page.fill('input[name="typed"]', "somebody");
  await press(`${form("/users/remove")} button`);
  check((await page.locator('input[name="typed"]').count()) === 1, `${name}: the name is asked for until it is right`);
  await shot("desk-confirm");
  await press("main a.button");
  check(on.at() === "/admin/user", `${name}: one can think better of it`);

  // A new user, an invitation that is taken back.
  await press('nav a[href="/admin/users"]');
  await page.fill(`${form("/users/add")} textarea`, walk.registration);
  await press(`${form("/users/add")} button`);
  check(/^[0-9A-Z]{5}(-[0-9A-Z]{5}){3}$/.test(await page.locator(".codes li").innerText()), `${name}: an invitation code`);
  await shot("desk-code");
  await press('nav a[href="/admin/invitations"]');
  check((await text()).includes(say.good), `${name}: the invitation is listed`);
  await page.locator(`${form("/invitations/withdraw")} button`).first().click();
  await done("withdraw");
  check((await text()).includes(say.back), `${name}: and taken back`);

  // A PC gets a key and loses it.
  await press('nav a[href="/admin/pcs"]');
  await page.fill(`${form("/pcs/enrol")} input[name="pc"]`, walk.pc);
  await page.fill(`${form("/pcs/enrol")} input[name="key"]`, "ab".repeat(32));
  await press(`${form("/pcs/enrol")} button`);
  await done("enrol");
  await page.locator(form("/pcs/revoke")).filter({ has: page.locator(`input[value="${walk.pc}"]`) }).locator("button").click();
  await page.fill('input[name="typed"]', walk.pc);
  await press(`${form("/pcs/revoke")} button`);
  await done("revoke");
  check((await text()).includes(say.gone), `${name}: the key is revoked`);

  // A policy, the log.
  await press('nav a[href="/admin/policies"]');
  const keep = page.locator(form("/policies/set")).filter({ has: page.locator('input[value="keep_newest"]') });
  await keep.locator('input[name="value"]').fill("7");
  await keep.locator("button").click();
  await done("policy");
  check((await page.locator("dl").innerText()).includes("7"), `${name}: the policy is set`);
  await press('nav a[href="/admin/audit"]');
  await page.fill('input[name="action"]', "policy.set");
  await press(`${form("/audit")} button`);
  check((await text()).includes("keep_newest"), `${name}: and in the log`);
  const file = page.waitForEvent("download");
  await press('main a[href="/admin/audit/export"]');
  check((await file).suggestedFilename() === "furoshiki-audit.jsonl", `${name}: the log is a file`);

  // Staff: added, its first password, its own account.
  await press('nav a[href="/admin/staff"]');
  await page.fill(`${form("/staff/add")} input[name="name"]`, walk.staff);
  await page.selectOption(`${form("/staff/add")} select`, "auditor");
  await press(`${form("/staff/add")} button`);
  const password = await page.locator(".codes li").innerText();
  await press("header form button");
  check(on.at() === "/admin", `${name}: signed out`);
  await signIn(on, walk.staff, password);
  await press('header a[href="/admin/account"]');
  check((await page.locator("h1").innerText()) === say.mine, `${name}: one's own account`);
  await page.fill('input[name="now"]', password);
  await page.fill('input[name="new"]', told.password);
  await page.fill('input[name="again"]', told.password);
  await press(`${form("/account/password")} button`);
  await done("password");
  await press('main a[href="/admin/account/second-step"]');
  check(await page.locator("svg[role=img]").isVisible(), `${name}: a code to scan`);
  await on.fits("second step");
  await shot("desk-second-step");

  // The other language, by choice, stays.
  await go("/admin/audit");
  await press("footer a[hreflang]");
  check(on.at() === "/admin/audit" && (await page.locator("html").getAttribute("lang")) !== walk.language, `${name}: the other language`);
  await on.close();
}

// Every page on every screen, with and without scripts, in both languages; each role its own rooms and no others.
let turn = 0;
for (const size of [small, large]) {
  for (const scripts of [true, false]) {
    for (const language of ["ja", "en"]) {
      const role = ["operator", "helper", "auditor"][turn % 3];
      const on = await open({ size, language, scripts, scheme: turn % 2 ? "dark" : "light" });
      turn += 1;
      await on.go("/admin");
      await on.fits("desk sign-in");
      await signIn(on, told.staff[role]);
      const offered = await on.page.locator("nav a").evaluateAll((links) => links.map((link) => link.getAttribute("href").split("/").pop()));
      check(offered.join() === rooms[role].join(), `${on.name}: the rooms of ${role}: ${offered}`);
      for (const at of [...rooms[role], `user?user=${told.user.id}`, "account", "account/second-step"]) {
        await on.go(`/admin/${at}`);
        check((await on.page.locator("h1").count()) === 1 && on.at().startsWith("/admin/"), `${on.name}: ${role}: ${at}`);
        const forms = await on.page.locator('main form[method="post"]').count();
        check(role !== "auditor" || at.startsWith("account") || forms === 0, `${on.name}: an auditor changes nothing at ${at}`);
        await on.fits(`${role}: ${at}`);
        await on.shot(`desk-${role}-${at.split("?")[0].replace("/", "-")}`);
      }
      await on.close();
    }
  }
}

// axe-core and Tab.
for (const [size, scheme, language] of [[small, "dark", "ja"], [large, "light", "en"]]) {
  const on = await open({ size, language, scripts: true, scheme });
  const look = async (title) => {
    await accessible(on.page, `desk-${scheme}-${size.width}-${title}`);
  };
  await on.go("/admin");
  await look("sign-in");
  await reachable(on.page, `desk sign-in ${size.width}`);
  await signIn(on, told.staff.operator);
  for (const at of [...rooms.operator, `user?user=${told.user.id}`, "account", "account/second-step"]) {
    await on.go(`/admin/${at}`);
    await look(at.split("?")[0].replace("/", "-"));
    if (["users", "policies", "staff", "account", `user?user=${told.user.id}`].includes(at)) {
      await reachable(on.page, `desk ${at} ${size.width}`);
    }
  }
  await on.go(`/admin/user?user=${told.user.id}`);
  await on.press(`${form("/users/remove")} button`);
  await look("confirm");
  await on.go("/admin/user?user=nobody");
  await look("not-there");
  await on.close();
}
await end();
