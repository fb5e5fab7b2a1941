/** What browsers, providers and whoever likes send to sign-in: cookies, seals, paths, logout tokens. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { BackChannel } from "../../lib/relay/signin/back_channel.ts";
import { isReturnPath, returnPathOf } from "../../lib/relay/signin/return_path.ts";
import { Browser, navigation, World } from "../signin/world.ts";
import type { FuzzTarget } from "./target.ts";

const app = "https://app.example.com";
const login = "https://login.example.com";
const sessionCookie = "__Host-Http-culvert";

interface Sealed {
  readonly world: World;
  /** What the relay has sealed for one browser, by purpose. */
  readonly texts: Readonly<Record<"r" | "state" | "code" | "session" | "login", string>>;
}

let made: Promise<Sealed> | undefined;

/** One world for all runs: nothing that is tried may change it. */
function sealed(): Promise<Sealed> {
  return made ??= makeSealed();
}

async function makeSealed(): Promise<Sealed> {
  const world = await World.create();
  const browser = new Browser(world);
  const found: Record<string, string> = {};
  await browser.open(`${app}/`, (url) => {
    for (const name of ["r", "state", "code"]) {
      const value = new URL(url).searchParams.get(name);
      if (value?.startsWith("ey")) found[name] = value;
    }
    return false;
  });
  const session = browser.jar("app.example.com").get(sessionCookie)!;
  const atLogin = browser.jar("login.example.com").get(`${sessionCookie}-login`)!;
  const { r, state, code } = found;
  return { world, texts: { r: r!, state: state!, code: code!, session, login: atLogin } };
}

/** How to damage a text; what comes of it is another one. */
type Damage = (text: string) => string;

const damage: fc.Arbitrary<Damage> = fc.oneof(
  fc.tuple(fc.nat(5_000), fc.constantFrom(..."AZaz09-_.~=%")).map(
    ([at, letter]): Damage => (text) =>
      text.slice(0, at % text.length) + letter + text.slice(at % text.length + 1),
  ),
  fc.nat(5_000).map((length): Damage => (text) => text.slice(0, length % text.length)),
  fc.constantFrom(...["x", ".", "=", "A", ".."]).map((more): Damage => (text) => text + more),
  fc.tuple(fc.nat(4), fc.nat(4)).map(([one, other]): Damage => (text) => {
    const parts = text.split(".");
    [parts[one], parts[other]] = [parts[other]!, parts[one]!];
    return parts.join(".");
  }),
  fc.constantFrom(
    ...[{ alg: "none" }, { alg: "dir", enc: "A256GCM", zip: "DEF" }, { alg: "dir", enc: "none" }],
    ...[{ alg: "A256KW", enc: "A256GCM" }, { alg: "dir", enc: "A256GCM", crit: ["x"], x: 1 }],
  ).map((header): Damage => (text) => {
    const [, ...rest] = text.split(".");
    const bytes = new TextEncoder().encode(JSON.stringify(header));
    return [bytes.toBase64({ alphabet: "base64url", omitPadding: true }), ...rest].join(".");
  }),
);

/** What a field of a head may have at all. */
const fieldText = fc.string({
  unit: fc.integer({ min: 0x20, max: 0xff }).map((code) => String.fromCharCode(code)),
  maxLength: 200,
});

const cookieNames = [
  ...[sessionCookie, `${sessionCookie}-login`, `${sessionCookie}-t-000000000aaaa`, "culvert-dev"],
  ...[
    ` ${sessionCookie}`,
    `\u00a0${sessionCookie}`,
    `$${sessionCookie}`,
    sessionCookie.toUpperCase(),
  ],
  ...["$Version", "", "theirs"],
];
const purposes = ["r", "state", "code", "session", "login"] as const;

/** A pair of a `Cookie` field, good seals of other purposes among them. */
const cookiePair = fc.tuple(
  fc.constantFrom(...cookieNames),
  fc.oneof(
    fieldText.map((text) => (_: Sealed) => text),
    fc.tuple(fc.constantFrom(...purposes), damage).map(([purpose, change]) => ({ texts }: Sealed) =>
      change(texts[purpose])
    ),
    fc.constantFrom("r" as const, "state" as const, "code" as const)
      .map((purpose) => ({ texts }: Sealed) => texts[purpose]),
  ),
);

/** A damage may undo itself. */
function isWhole({ texts }: Sealed, cookie: string): boolean {
  return cookie.includes(texts.session) || cookie.includes(texts.login);
}

async function statusOf(answer: Response): Promise<number> {
  await answer.body?.cancel();
  return answer.status;
}

const cookies: FuzzTarget = {
  name: "cookies",
  claim: "no cookie but the relay's own, as it made it, is a session, and none fails",
  property: () =>
    fc.asyncProperty(
      fc.array(cookiePair, { minLength: 1, maxLength: 4 }),
      fc.constantFrom("; ", ";", " ;\t"),
      async (pairs, separator) => {
        const made = await sealed();
        const Cookie = pairs.map(([name, value]) => `${name}=${value(made)}`).join(separator)
          .trim();
        if (isWhole(made, Cookie)) return;
        const { world } = made;
        world.lines.length = 0;
        const script = await world.answer(new Request(`${app}/x`, { headers: { Cookie } }));
        assert.equal(await statusOf(script), 401);
        const headers = { Cookie, ...navigation };
        assert.equal(await statusOf(await world.answer(new Request(`${app}/x`, { headers }))), 302);
        const home = await world.answer(new Request(`${login}/`, { headers }));
        assert.match(await home.text(), /Not signed in/);
      },
    ),
};

const seals: FuzzTarget = {
  name: "seals",
  claim: "no start, state or code but the relay's own is taken; all others come to 400",
  property: () =>
    fc.asyncProperty(
      fc.constantFrom(
        { purpose: "r", url: `${login}/.culvert/start?r=` },
        { purpose: "state", url: `${login}/.culvert/callback?code=x&state=` },
        { purpose: "code", url: `${app}/.culvert/callback?code=` },
      ),
      fc.constantFrom(...purposes),
      damage,
      fc.oneof(fc.constant(undefined), fc.string({ maxLength: 100 })),
      async ({ purpose, url }, other, change, text) => {
        const made = await sealed();
        const whole = Object.values(made.texts);
        const damaged = text?.toWellFormed() ?? change(made.texts[other]);
        const value = whole.includes(damaged) && other === purpose ? "x" : damaged;
        made.world.lines.length = 0;
        const request = new Request(url + encodeURIComponent(value), { headers: navigation });
        const answer = await made.world.answer(request);
        assert.deepEqual(answer.headers.getSetCookie(), []);
        assert.equal(await statusOf(answer), 400);
      },
    ),
};

const pathPiece = fc.constantFrom(
  ...["/", "//", "\\", "/\\", "%2f", "%5c", "%09", "\t", "\n", "\r", "%0d%0a", "%00", " ", "%20"],
  ...[
    "evil.test",
    "https://evil.test",
    "@evil.test",
    ":80",
    "?",
    "#",
    "&",
    ".",
    "..",
    "%2e%2e",
    ";",
  ],
  ...[
    "a",
    "app.example.com",
    ".culvert",
    "%2eculvert",
    ".CULVERT",
    "logout",
    "javascript:",
    "\u3002",
  ],
);

const returnPaths: FuzzTarget = {
  name: "return-paths",
  claim:
    "whatever was asked for, the way back leads to the same origin and to no page of the relay's",
  property: () =>
    fc.property(fc.array(pathPiece, { maxLength: 8 }).map((pieces) => pieces.join("")), (text) => {
      for (const target of [text, `/${text}`, `https://app.example.com${text}`]) {
        const path = returnPathOf(target);
        assert.ok(isReturnPath(path));
        const url = new URL(app + path);
        assert.equal(url.origin, app);
        // Resolved like a Location, as browsers do.
        assert.equal(new URL(path, `${app}/x/`).origin, app);
        assert.doesNotMatch(url.pathname, /^\/\.culvert(?:\/|$)/i);
        assert.equal(new Headers({ Location: url.href }).get("Location"), url.href);
      }
    }),
};

const jsonText = fc.json({ maxDepth: 2 });
const encoded = (text: string) =>
  new TextEncoder().encode(text).toBase64({ alphabet: "base64url", omitPadding: true });

const logoutTokens: FuzzTarget = {
  name: "logout-tokens",
  claim: "no logout token but the provider's own ends anything, and all others come to 4xx",
  property: () =>
    fc.asyncProperty(
      fc.oneof(
        fc.string({ maxLength: 200 }),
        fc.tuple(jsonText, jsonText, fieldText).map(([header, claims, signature]) =>
          `${encoded(header)}.${encoded(claims)}.${encoded(signature)}`
        ),
        fc.record({
          alg: fc.constantFrom("RS256", "none", "HS256", "ES256", "PS256"),
          kid: fc.string({ maxLength: 8 }),
          typ: fc.constantFrom("logout+jwt", "JWT", "at+jwt"),
        }).map((header) => {
          const claims = { iss: "https://idp.example.net", aud: "culvert", sub: "ann-1", jti: "1" };
          return `${encoded(JSON.stringify(header))}.${encoded(JSON.stringify(claims))}.AAAA`;
        }),
      ),
      fc.constantFrom("application/x-www-form-urlencoded", "text/plain", ""),
      fc.ipV4(),
      async (token, type, address) => {
        const { world } = await sealed();
        world.lines.length = 0;
        const request = new Request(`${login}/.culvert/backchannel-logout`, {
          method: "POST",
          headers: { "Content-Type": type },
          body: new URLSearchParams({ logout_token: token.toWellFormed() }).toString(),
        });
        const answer = await new BackChannel(world.signIn).answer(request, address);
        assert.ok(answer.status >= 400 && answer.status < 500, `status ${answer.status}`);
        assert.equal(world.sessions.size, 1);
      },
    ),
};

export const signInTargets: readonly FuzzTarget[] = [cookies, seals, returnPaths, logoutTokens];
