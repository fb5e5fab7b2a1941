import assert from "node:assert/strict";
import fc from "fast-check";
import { Browser, navigation, World } from "./world.ts";

const app = "https://app.example.com";
const login = "https://login.example.com";
const runs = 150;

/** What a header's value may have at all: `Headers` takes no other. */
const headerText = fc.string({
  unit: fc.integer({ min: 0x20, max: 0xff }).map((code) => String.fromCharCode(code)),
}).map((text) => text.trim());

const base64url = fc.string({
  unit: fc.constantFrom(..."ABCDEFGHabcdefgh0123456789-_."),
  maxLength: 300,
});

/** A sealed text that somebody has changed. */
function damaged(sealed: string): fc.Arbitrary<string> {
  return fc.oneof(
    fc.tuple(fc.nat(sealed.length - 2), fc.constantFrom(..."AZaz09-_.")).map(([at, character]) =>
      sealed.slice(0, at) + character + sealed.slice(at + 1)
    ),
    fc.nat(sealed.length - 1).map((length) => sealed.slice(0, length)),
    fc.constantFrom(..."xA.=").map((more) => sealed + more),
  ).filter((text) => text !== sealed);
}

Deno.test("No cookie but the relay's own is a session, whatever it looks like", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  await browser.open(`${app}/`);
  const good = browser.jar("app.example.com").get("__Host-Http-culvert")!;
  const names = ["__Host-Http-culvert", "culvert-dev", "__Host-Http-culvert-login"];
  const cookies = fc.oneof(
    headerText,
    fc.tuple(fc.constantFrom(...names), fc.oneof(headerText, base64url, damaged(good))).map((
      [name, value],
    ) => `${name}=${value}`),
  );
  await fc.assert(
    fc.asyncProperty(cookies, async (Cookie) => {
      for (const headers of [{ Cookie }, { Cookie, ...navigation }]) {
        const answer = await world.answer(new Request(`${app}/x`, { headers }));
        await answer.body?.cancel();
        assert.ok([401, 302].includes(answer.status), `${answer.status}: ${Cookie}`);
      }
      const atLogin = await world.answer(new Request(`${login}/`, { headers: { Cookie } }));
      assert.match(await atLogin.text(), /Not signed in/);
    }),
    { numRuns: runs },
  );
});

Deno.test("A cookie counts as the relay wrote it, though other letters stand for the same bytes", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  await browser.open(`${app}/`);
  const good = browser.jar("app.example.com").get("__Host-Http-culvert")!;
  const taken: string[] = [];
  for (const letter of "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
    const value = good.slice(0, -1) + letter;
    const headers = { Cookie: `__Host-Http-culvert=${value}`, "Sec-Fetch-Mode": "cors" };
    const answer = await world.answer(new Request(`${app}/x`, { headers }));
    await answer.body?.cancel();
    if (answer.status === 200) taken.push(value);
  }
  assert.deepEqual(taken, [good]);
});

Deno.test("No state, code or start but the relay's own is taken, and none of them fails", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  const sealed: string[] = [];
  await browser.open(`${app}/`, (url) => {
    const { searchParams } = new URL(url);
    for (const name of ["r", "state", "code"]) {
      const value = searchParams.get(name);
      if (value?.startsWith("ey")) sealed.push(value);
    }
    return false;
  });
  assert.ok(sealed.length >= 3, `${sealed.length} sealed texts`);
  const texts = fc.oneof(fc.string(), base64url, ...sealed.map(damaged));
  const stranger = new Browser(world);
  await fc.assert(
    fc.asyncProperty(texts, async (text) => {
      const value = encodeURIComponent(text.toWellFormed());
      for (
        const url of [
          `${login}/.culvert/start?r=${value}`,
          `${login}/.culvert/callback?state=${value}&code=x`,
          `${app}/.culvert/callback?code=${value}`,
        ]
      ) {
        const answer = await stranger.send(url, { headers: navigation });
        await answer.body?.cancel();
        assert.equal(answer.status, 400, url);
        assert.deepEqual(answer.headers.getSetCookie(), []);
      }
    }),
    { numRuns: runs },
  );
});

Deno.test("A sealed text counts for its own purpose only", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  const sealed = new Map<string, string>();
  await browser.open(`${app}/`, (url) => {
    for (const name of ["r", "state", "code"]) {
      const value = new URL(url).searchParams.get(name);
      if (value?.startsWith("ey")) sealed.set(name, value);
    }
    return false;
  });
  sealed.set("session", browser.jar("app.example.com").get("__Host-Http-culvert")!);
  sealed.set("login", browser.jar("login.example.com").get("__Host-Http-culvert-login")!);
  for (const [name, value] of sealed) {
    if (name !== "session") {
      const headers = { Cookie: `__Host-Http-culvert=${value}` };
      assert.equal((await world.answer(new Request(`${app}/`, { headers }))).status, 401, name);
    }
    if (name !== "login") {
      const headers = { Cookie: `__Host-Http-culvert-login=${value}` };
      const answer = await world.answer(new Request(`${login}/`, { headers }));
      assert.match(await answer.text(), /Not signed in/, name);
    }
    for (const [path, own] of [["start?r", "r"], ["callback?code=x&state", "state"]]) {
      if (name === own) continue;
      const answer = await world.answer(new Request(`${login}/.culvert/${path}=${value}`));
      assert.equal(answer.status, 400, `${name} as ${path}`);
    }
  }
});

Deno.test("A logout token, a form and a path of any kind get an answer of the 4xx", async () => {
  const world = await World.create();
  await fc.assert(
    fc.asyncProperty(
      fc.string(),
      fc.constantFrom("application/x-www-form-urlencoded", "text/plain", "application/json"),
      async (text, type) => {
        const body = text.toWellFormed();
        for (const path of ["continue", "logout"]) {
          const answer = await world.answer(
            new Request(`${login}/.culvert/${path}`, {
              method: "POST",
              body,
              headers: { "Content-Type": type },
            }),
          );
          await answer.body?.cancel();
          assert.ok(answer.status >= 400 && answer.status < 500, `${path}: ${answer.status}`);
        }
      },
    ),
    { numRuns: runs },
  );
});
