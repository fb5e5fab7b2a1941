import assert from "node:assert/strict";
import fc from "fast-check";
import { accessTokenPrefix } from "../../lib/relay/callers/credential.ts";
import { accessMs } from "../../lib/relay/signin/programs/program_seals.ts";
import { Browser, World } from "./world.ts";

const login = "https://login.example.com";
const redirectUri = "http://127.0.0.1:45678/callback";
const verifier = "v".repeat(43);
const state = "s".repeat(22);

async function challengeOf(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(digest).toBase64({ alphabet: "base64url", omitPadding: true });
}

async function queryOf(changes: Readonly<Record<string, string | undefined>> = {}) {
  const query = new URLSearchParams({
    response_type: "code",
    program: "culvert access",
    machine: "laptop7",
    host: "app.example.com",
    code_challenge: await challengeOf(verifier),
    code_challenge_method: "S256",
    redirect_uri: redirectUri,
    state,
  });
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) query.delete(name);
    else query.set(name, value);
  }
  return query;
}

/** The sealed request that the page's form has. */
async function consentIn(answer: Response): Promise<string> {
  const sealed = /name="request" value="([^"]+)"/.exec(await answer.text())?.[1];
  assert.ok(sealed);
  return sealed;
}

const ownPage = {
  Origin: login,
  "Sec-Fetch-Site": "same-origin",
  "Content-Type": "application/x-www-form-urlencoded",
};

function nextOf(html: string): string {
  const url = /http-equiv="refresh" content="0;url=([^"]+)"/.exec(html)?.[1];
  assert.ok(url, html);
  return url.replaceAll("&amp;", "&");
}

/** Says yes, and signs in; leads to where the program listens. */
async function signIn(browser: Browser, query: URLSearchParams): Promise<URL> {
  const asked = await browser.send(`${login}/.culvert/authorize?${query}`);
  assert.equal(asked.status, 200);
  const body = new URLSearchParams({ request: await consentIn(asked) });
  const said = await browser.send(`${login}/.culvert/authorize`, {
    method: "POST",
    headers: ownPage,
    body,
  });
  assert.equal(said.status, 200);
  const { answer } = await browser.open(nextOf(await said.text()));
  assert.equal(answer.status, 200);
  return new URL(nextOf(await answer.text()));
}

async function ask(world: World, form: Record<string, string>, path = "token"): Promise<Response> {
  return await world.answer(
    new Request(`https://app.example.com/.culvert/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/x-www-form-urlencoded" },
      body: new URLSearchParams(form),
    }),
  );
}

function exchange(code: string, changes: Record<string, string> = {}) {
  return {
    grant_type: "authorization_code",
    code,
    code_verifier: verifier,
    redirect_uri: redirectUri,
    ...changes,
  };
}

async function tokensOf(world: World): Promise<{ access_token: string; refresh_token: string }> {
  const back = await signIn(new Browser(world), await queryOf());
  const answer = await ask(world, exchange(back.searchParams.get("code")!));
  assert.equal(answer.status, 200);
  return await answer.json();
}

Deno.test("Whoever consents signs in for a program, which gets a token of its own", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  const query = await queryOf();
  const asked = await browser.send(`${login}/.culvert/authorize?${query}`);
  const page = await asked.clone().text();
  for (const shown of ["culvert access", "laptop7", "app.example.com"]) {
    assert.ok(page.includes(shown), shown);
  }
  assert.match(asked.headers.get("Content-Security-Policy")!, /frame-ancestors 'none'/);
  const back = await signIn(browser, query);
  assert.equal(back.origin + back.pathname, redirectUri);
  assert.equal(back.searchParams.get("state"), state);
  const answer = await ask(world, exchange(back.searchParams.get("code")!));
  assert.equal(answer.headers.get("Cache-Control"), "no-store");
  const { access_token: token, expires_in: seconds, ...rest } = await answer.json();
  assert.ok(token.startsWith(accessTokenPrefix));
  // Some time may have passed since it was made.
  assert.ok(seconds <= accessMs / 1_000 && seconds > accessMs / 1_000 - 60, `${seconds} s`);
  assert.equal(rest.token_type, "Bearer");
  assert.deepEqual(rest.hosts, ["app.example.com"]);
  assert.doesNotMatch(JSON.stringify(world.lines), /eyJ/);
  // Neither host has a cookie of a session: the program's is not the browser's.
  assert.deepEqual([...browser.jar("login.example.com").keys()], []);
});

Deno.test("A program's host leads its user to the login host", async () => {
  const world = await World.create();
  const query = await queryOf();
  const answer = await world.answer(
    new Request(`https://app.example.com/.culvert/authorize?${query}`),
  );
  assert.equal(answer.status, 302);
  assert.equal(answer.headers.get("Location"), `${login}/.culvert/authorize?${query}`);
});

Deno.test("A request that is no program's of this machine is refused with a sentence", async () => {
  const world = await World.create();
  const faults: [Record<string, string | undefined>, RegExp][] = [
    [{ redirect_uri: "https://evil.example/callback" }, /no port of this machine/],
    [{ redirect_uri: "http://localhost:1234/callback" }, /no port of this machine/],
    [{ redirect_uri: "http://127.0.0.1:1234/callback?x=1" }, /no port of this machine/],
    [{ redirect_uri: "http://127.0.0.1:1234@evil.example/callback" }, /no port of this machine/],
    [{ redirect_uri: "http://127.0.0.1:70000/callback" }, /no port of this machine/],
    [{ code_challenge: verifier.slice(1) }, /no code challenge/],
    [{ code_challenge_method: "plain" }, /no code challenge/],
    [{ state: undefined }, /no state/],
    [{ response_type: "token" }, /no code/],
    [{ machine: "a\nb" }, /which program on which machine/],
    [{ host: undefined }, /1 to 32 hosts/],
    [{ host: "nobody.example.com" }, /not a service/],
    [{ host: "/tunnel/*" }, /names no host/],
    [{ host: "https://app.example.com" }, /names no host/],
  ];
  for (const [changes, sentence] of faults) {
    const query = await queryOf(changes);
    const answer = await world.answer(new Request(`${login}/.culvert/authorize?${query}`));
    assert.equal(answer.status, 400, JSON.stringify(changes));
    assert.match(await answer.text(), sentence, JSON.stringify(changes));
  }
});

Deno.test("Only the page that names the program can say yes", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  const asked = await browser.send(`${login}/.culvert/authorize?${await queryOf()}`);
  const request = await consentIn(asked);
  const foreign: Record<string, string>[] = [
    { Origin: "https://app.example.com", "Sec-Fetch-Site": "same-site" },
    { Origin: "https://evil.example", "Sec-Fetch-Site": "cross-site" },
    { Origin: "https://app.example.com" },
    { Origin: "null", "Sec-Fetch-Site": "same-origin" },
    { "Sec-Fetch-Site": "none" },
    {},
  ];
  for (const headers of foreign) {
    const said = await browser.send(`${login}/.culvert/authorize`, {
      method: "POST",
      headers: { ...headers, "Content-Type": ownPage["Content-Type"] },
      body: new URLSearchParams({ request }),
    });
    assert.equal(said.status, 403, JSON.stringify(headers));
  }
  const other = await browser.send(`${login}/.culvert/authorize`, {
    method: "POST",
    headers: ownPage,
    body: new URLSearchParams({ request: "x" }),
  });
  assert.equal(other.status, 400);
});

Deno.test("A program's code works once, and only for the program that asked", async () => {
  const world = await World.create();
  const begin = async () =>
    (await signIn(new Browser(world), await queryOf())).searchParams.get("code")!;
  const wrong: Record<string, string>[] = [
    { code_verifier: "w".repeat(43) },
    { code_verifier: "" },
    { redirect_uri: "http://127.0.0.1:45679/callback" },
    { code: "x" },
  ];
  for (const changes of wrong) {
    const answer = await ask(world, exchange(await begin(), changes));
    assert.equal(answer.status, 400, JSON.stringify(changes));
    assert.deepEqual(await answer.json(), { error: "invalid_grant" });
  }
  const code = await begin();
  assert.equal((await ask(world, exchange(code))).status, 200);
  assert.equal((await ask(world, exchange(code))).status, 400);
  const late = await begin();
  world.aheadMs += 61_000;
  assert.equal((await ask(world, exchange(late))).status, 400);
});

Deno.test("A code is for the browser that said yes", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  const asked = await browser.send(`${login}/.culvert/authorize?${await queryOf()}`);
  const said = await browser.send(`${login}/.culvert/authorize`, {
    method: "POST",
    headers: ownPage,
    body: new URLSearchParams({ request: await consentIn(asked) }),
  });
  const toProvider = nextOf(await said.text());
  const { answer } = await new Browser(world).open(toProvider);
  assert.equal(answer.status, 400);
  assert.match(await answer.text(), /begun in another browser/);
  assert.equal(world.sessions.size, 0);
});

Deno.test("A refresh token brings the next token once; a second time, the session ends", async () => {
  const world = await World.create();
  const { refresh_token } = await tokensOf(world);
  const refresh = (token: string) =>
    ask(world, { grant_type: "refresh_token", refresh_token: token });
  const next = await (await refresh(refresh_token)).json();
  assert.ok(next.access_token.startsWith(accessTokenPrefix));
  assert.equal(world.sessions.size, 1);
  assert.deepEqual(await (await refresh(refresh_token)).json(), { error: "invalid_grant" });
  assert.equal(world.sessions.size, 0);
  assert.deepEqual(await (await refresh(next.refresh_token)).json(), { error: "invalid_grant" });
});

Deno.test("A program's session ends when it is signed out, and with its hard end", async () => {
  const world = await World.create();
  const first = await tokensOf(world);
  assert.equal((await ask(world, { token: "nonsense" }, "revoke")).status, 200);
  assert.equal(world.sessions.size, 1);
  assert.equal((await ask(world, { token: first.refresh_token }, "revoke")).status, 200);
  assert.equal(world.sessions.size, 0);
  const second = await tokensOf(world);
  world.aheadMs += 13 * 3_600_000;
  const late = await ask(world, {
    grant_type: "refresh_token",
    refresh_token: second.refresh_token,
  });
  assert.equal(late.status, 400);
});

Deno.test("Tokens, codes and cookies do not pass for one another", async () => {
  const world = await World.create();
  const { access_token, refresh_token } = await tokensOf(world);
  const bare = access_token.slice(accessTokenPrefix.length);
  assert.ok(await world.signIn.openAccess(bare));
  assert.equal(await world.signIn.openAccess(refresh_token), undefined);
  for (const code of [bare, refresh_token]) {
    assert.equal((await ask(world, exchange(code))).status, 400);
  }
  const cookie = await world.answer(
    new Request("https://app.example.com/", {
      headers: { Cookie: `__Host-Http-culvert=${bare}`, "Sec-Fetch-Mode": "cors" },
    }),
  );
  assert.equal(cookie.status, 401);
});

Deno.test("Whatever is sent to a program's paths, nobody gets a token, and nothing fails", async () => {
  const world = await World.create();
  const { access_token, refresh_token } = await tokensOf(world);
  const sealed = [access_token, refresh_token, access_token.slice(accessTokenPrefix.length)];
  // Whole seals, pieces of them, and seals with a character changed.
  const part = fc.oneof(
    fc.string(),
    fc.string({ unit: "binary" }),
    fc.tuple(fc.constantFrom(...sealed), fc.nat(), fc.string({ maxLength: 3 })).map(
      ([text, at, put]) => text.slice(0, at % text.length) + put + text.slice(at % text.length + 1),
    ).filter((text) => !sealed.includes(text)),
  );
  const names = fc.constantFrom(
    ...["grant_type", "code", "code_verifier", "redirect_uri", "refresh_token", "device_code"],
    ...["token", "request", "refuse", "state", "host", "program", "machine", "response_type"],
  );
  const known = fc.constantFrom("authorization_code", "refresh_token", "app.example.com", "code");
  const pairs = fc.array(fc.tuple(names, fc.oneof(part, known)), { maxLength: 8 });
  const paths = fc.constantFrom("token", "revoke", "authorize", "device", "device_authorization");
  const methods = fc.constantFrom("GET", "POST");
  await fc.assert(
    fc.asyncProperty(pairs, paths, methods, async (pairs, path, method) => {
      const query = new URLSearchParams(pairs);
      const url = `${login}/.culvert/${path}`;
      const request = method === "POST"
        ? new Request(url, { method, headers: ownPage, body: query })
        : new Request(`${url}?${query}`);
      const answer = await world.answer(request);
      const text = await answer.text();
      assert.ok(answer.status < 500, `${answer.status} ${text}`);
      assert.doesNotMatch(text, /access_token/);
      assert.equal(answer.headers.get("Set-Cookie"), null);
    }),
    { numRuns: 300 },
  );
});
