/** Attacks on whatever signs people in, by what a browser or a program could send. */
import { request as httpRequest } from "node:http";
import { openConnection, type RawConnection } from "../support/raw_connection.ts";
import { readHead, statusOf } from "../support/raw_http.ts";
import { originOf, SocketBrowser } from "../signin/programs.ts";
import { navigation } from "../signin/world.ts";
import type { Subject } from "./subjects.ts";

/** What came of an attack. */
export interface Result {
  /** Whether it came to the right outcome. */
  readonly isRight: boolean;
  /** What was seen, in a few words. */
  readonly seen: string;
}

/** An attack, and what has to come of it. */
export interface Attack {
  readonly name: string;
  readonly outcome: string;
  readonly run: (subject: Subject) => Promise<Result>;
}

const script = {
  Accept: "*/*",
  "Sec-Fetch-Mode": "cors",
  "Sec-Fetch-Dest": "empty",
  "Sec-Fetch-Site": "same-origin",
};

const ann = { sub: "ann-1", email: "ann@example.com", email_verified: true };
const eve = { sub: "eve-1", email: "eve@example.com", email_verified: true };

/** What the target sees of a request whose sender it must not be able to choose. */
const spoofed = [
  "X-Forwarded-User",
  "X_Forwarded_User",
  "x-forwarded-USER",
  "X-Forwarded-Email",
  "X_Forwarded_Email",
];

function as(subject: Subject, account: typeof ann & Record<string, unknown>): void {
  subject.provider.account = account;
  const { sub: _, ...claims } = account;
  subject.provider.idTokenClaims = claims;
}

async function signIn(subject: Subject, account: typeof ann = ann): Promise<SocketBrowser> {
  as(subject, account);
  const browser = new SocketBrowser();
  const page = await browser.open(`${originOf(subject, "app")}/`);
  if (page.status !== 200) throw new Error(`${subject.name}: signing in came to ${page.status}`);
  return browser;
}

/** One request whose path goes out as it is. */
function send(
  { port }: Subject,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  host = "app",
): Promise<
  { readonly status: number; readonly location: string | undefined; readonly text: string }
> {
  const { promise, resolve, reject } = Promise.withResolvers<
    { status: number; location: string | undefined; text: string }
  >();
  const request = httpRequest({
    ...{ host: "127.0.0.1", port, path, agent: false },
    headers: { Host: `${host}.localhost:${port}`, ...headers },
  }, (response) => {
    let text = "";
    response.setEncoding("latin1");
    response.on("data", (piece: string) => text += piece);
    response.on("end", () => {
      const { statusCode, headers: { location } } = response;
      resolve({ status: statusCode!, location, text });
    });
    response.on("error", reject);
  });
  request.on("error", reject);
  request.end();
  return promise;
}

function isIn({ status, text }: { readonly status: number; readonly text: string }): boolean {
  return status === 200 && /^[A-Z]+ .* HTTP\/1\.1\r\n/.test(text);
}

async function openSocket(
  { port }: Subject,
  cookies: string,
  origin: string | undefined,
): Promise<{ readonly status: number; readonly connection: RawConnection }> {
  const connection = await openConnection(`127.0.0.1:${port}`);
  const lines = [
    ...["GET /socket HTTP/1.1", `Host: app.localhost:${port}`, "Connection: Upgrade"],
    ...["Upgrade: websocket", "Sec-WebSocket-Version: 13"],
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ...origin === undefined ? [] : [`Origin: ${origin}`],
    `Cookie: ${cookies}`,
  ];
  await connection.write([...lines, "", ""].join("\r\n"));
  return { status: statusOf(await readHead(connection.reader)), connection };
}

async function isClosedWithin({ closed }: RawConnection, ms: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<boolean>((resolve) => timer = setTimeout(() => resolve(false), ms));
  const isClosed = await Promise.race([closed.then(() => true), late]);
  clearTimeout(timer);
  return isClosed;
}

function all(failures: readonly string[], right: string): Result {
  return {
    isRight: failures.length === 0,
    seen: failures.length === 0 ? right : failures.join("; "),
  };
}

export const attacks: readonly Attack[] = [
  {
    name: "A page with `%2F` and a query is opened without a session",
    outcome: "after the sign-in, exactly that page",
    async run(subject) {
      as(subject, ann);
      const url = `${originOf(subject, "app")}/deep%2Fer?x=1&y=%20`;
      const page = await new SocketBrowser().open(url);
      const arrived = page.text.split(" ")[1] ?? "";
      return { isRight: page.url === url && arrived === "/deep%2Fer?x=1&y=%20", seen: arrived };
    },
  },
  {
    name: "Ten tabs are opened at once and sign in one after the other, the last one first",
    outcome: "all arrive at their pages; at most 5 cookies of sign-ins",
    async run(subject) {
      as(subject, ann);
      const browser = new SocketBrowser();
      const origin = originOf(subject, "app");
      const starts: string[] = [];
      let most = 0;
      for (let tab = 0; tab < 10; tab++) {
        const start = await browser.send(`${origin}/tab-${tab}`, { headers: navigation });
        starts.push(String(start.headers["location"]));
        const names = [...browser.jar("app.localhost").keys()];
        most = Math.max(most, names.filter((name) => name.includes(subject.transaction)).length);
      }
      let arrived = 0;
      for (const [index, start] of [...starts.entries()].reverse()) {
        const page = await browser.open(new URL(start, origin).href);
        if (page.status === 200 && page.url === `${origin}/tab-${index}`) arrived++;
      }
      return {
        isRight: arrived === 10 && most <= 5,
        seen: `${arrived} of 10 arrive, ${most} cookies`,
      };
    },
  },
  {
    name: "30 `fetch` calls of a page whose session has ended",
    outcome: "30 × 401, none is sent to the provider, no cookie",
    async run(subject) {
      const browser = new SocketBrowser();
      const url = `${originOf(subject, "app")}/api`;
      const answers = await Promise.all(
        Array.from({ length: 30 }, () => browser.send(url, { headers: script })),
      );
      const statuses = [...new Set(answers.map(({ status }) => status))];
      const cookies = browser.jar("app.localhost").size;
      return {
        isRight: statuses.join() === "401" && cookies === 0,
        seen: `30 × ${statuses.join(", ")}, ${cookies} cookies`,
      };
    },
  },
  {
    name: "A callback in another browser than the one that began the sign-in",
    outcome: "no session",
    async run(subject) {
      as(subject, ann);
      const victim = new SocketBrowser();
      const attacker = new SocketBrowser();
      const seen: string[] = [];
      const { send } = attacker;
      attacker.send = async (url, options) => {
        if (
          new URL(url).pathname === subject.callback && new URL(url).hostname === "app.localhost"
        ) {
          seen.push(url);
          return { url, status: 200, headers: {}, text: "" };
        }
        return await send.call(attacker, url, options);
      };
      await attacker.open(`${originOf(subject, "app")}/`);
      const answer = await victim.send(seen[0]!, { headers: navigation });
      const hasSession = victim.jar("app.localhost").has(subject.cookie);
      return {
        isRight: !hasSession && answer.status >= 400,
        seen: `${answer.status}, ${hasSession ? "a" : "no"} session`,
      };
    },
  },
  {
    name:
      "Return targets: `//evil`, `/\\evil`, `/%09/evil`, `https://evil`, `/%5cevil`, `/%2f%2fevil`, with a sibling's suffix",
    outcome: "never another origin",
    async run(subject) {
      const targets = [
        ...["//evil.test/", "/\\evil.test/", "/%09/evil.test/", "https://evil.test/"],
        ...[
          "/%5cevil.test",
          "/%2f%2fevil.test",
          "///evil.test",
          "/%0d%0aLocation:%20https://evil.test",
        ],
        `http://app.localhost.evil.test:${subject.port}/`,
        `http://app.localhost:${subject.port}@evil.test/`,
      ];
      const failures: string[] = [];
      for (const pattern of subject.redirects) {
        for (const evil of targets) {
          // As the path itself, only what is a path can be sent.
          if (pattern === "EVIL" && !evil.startsWith("/")) continue;
          as(subject, ann);
          const value = pattern === "EVIL" ? evil : encodeURIComponent(evil);
          const browser = new SocketBrowser();
          const first = await send(subject, pattern.replace("EVIL", value), navigation);
          const led = await follow(browser, subject, first, pattern.replace("EVIL", value));
          if (/evil\.test/.test(new URL(led).host)) {
            failures.push(`${pattern.replace("EVIL", evil)} leads to ${led}`);
          }
        }
      }
      return all(failures, "own origin");
    },
  },
  {
    name: "A sibling host's page sets the session cookie of the attacker for the whole domain",
    outcome: "no session",
    async run(subject) {
      const own = await signIn(subject, eve);
      const evil = own.jar("app.localhost").get(subject.cookie)!;
      // Browsers refuse a `__Host-` name with a Domain; over HTTP neither can have one.
      const victim = await signIn(subject, ann);
      const good = victim.jar("app.localhost").get(subject.cookie)!;
      const cookie = `${subject.cookie}=${evil}; ${subject.cookie}=${good}`;
      const answer = await send(subject, "/x", { ...script, Cookie: cookie });
      const who = /eve@example\.com/.test(answer.text)
        ? "the attacker's session"
        : isIn(answer)
        ? "a session"
        : `${answer.status}`;
      return { isRight: !isIn(answer), seen: `both cookies: ${who}` };
    },
  },
  {
    name: "`$Version=1`, quotes, a Unicode blank before the name, other case",
    outcome: "no session from any of these",
    async run(subject) {
      const browser = await signIn(subject);
      const good = browser.jar("app.localhost").get(subject.cookie)!;
      const failures: string[] = [];
      for (
        const cookie of [
          `$Version=1; $Path=/; ${subject.cookie}="${good}"`,
          `${subject.cookie}="${good}"`,
          `\u00a0${subject.cookie}=${good}`,
          `${subject.cookie.toUpperCase()}=${good}`,
          `${subject.cookie}=${good.slice(0, -1)}`,
        ]
      ) {
        const answer = await send(subject, "/x", { ...script, Cookie: cookie });
        if (isIn(answer)) {
          failures.push(`${cookie.replace(good, "…").replace(good.slice(0, -1), "…")} is taken`);
        }
        if (answer.status >= 500) failures.push(`status ${answer.status}`);
      }
      return all(failures, "none is taken");
    },
  },
  {
    name: "The session's cookie on its way to the target",
    outcome: "the target gets the app's cookies only, byte for byte",
    async run(subject) {
      const browser = await signIn(subject);
      browser.jar("app.localhost").set("theirs", "a=b");
      subject.received.length = 0;
      await browser.send(`${originOf(subject, "app")}/x`);
      const cookies = /^cookie: (.*)\r$/im.exec(subject.received[0] ?? "")?.[1] ?? "";
      return {
        isRight: cookies === "theirs=a=b",
        seen: cookies.includes(subject.cookie) ? "the target gets it" : cookies,
      };
    },
  },
  {
    name: "The cookie of one host is sent to another host of the same proxy",
    outcome: "no session",
    async run(subject) {
      const browser = await signIn(subject);
      const cookie = `${subject.cookie}=${browser.jar("app.localhost").get(subject.cookie)}`;
      const answer = await send(subject, "/x", { ...script, Cookie: cookie }, "other");
      return { isRight: !isIn(answer), seen: isIn(answer) ? "let in" : String(answer.status) };
    },
  },
  {
    name: "E-mail addresses for the rule `example.com`",
    outcome: "`user@EXAMPLE.com` alone is let in",
    async run(subject) {
      const failures: string[] = [];
      const accounts: [string, unknown, boolean][] = [
        ["user@evil.com@example.com", true, false],
        ["user@example.com.evil", true, false],
        ["user@EXAMPLE.com", true, true],
        ["ann@example.com", false, false],
        ["ann@example.com", undefined, false],
        ["ann@example.com", "true", false],
      ];
      for (const [email, verified, isRight] of accounts) {
        const account = {
          sub: `sub-${email}-${verified}`,
          email,
          ...verified !== undefined && { email_verified: verified },
        };
        as(subject, account as typeof ann);
        const page = await new SocketBrowser().open(`${originOf(subject, "app")}/`);
        const isLetIn = page.status === 200 && /^GET \//.test(page.text);
        if (isLetIn !== isRight) {
          failures.push(
            `${email}, verified: ${JSON.stringify(verified) ?? "absent"}: ${
              isLetIn ? "let in" : "refused"
            }`,
          );
        }
      }
      return all(failures, "that one alone");
    },
  },
  {
    name: "Paths around `/public/`, which needs no session",
    outcome: "400 or 401, never the target",
    async run(subject) {
      const failures: string[] = [];
      for (
        const path of [
          ...["/public/../admin", "/public/%2e%2e/admin", "/public%2f..%2fadmin", "/x?/public/"],
          ...["/x#/public/", "//public/", "/public;x/", "/public/..%2fadmin", "/public/.%2e/admin"],
          ...["/public/%2e%2e%2fadmin", "/public/..;/admin", "/public/\\..\\admin"],
        ]
      ) {
        const answer = await send(subject, path, script);
        if (isIn(answer)) {
          failures.push(`\`${path}\` reaches the target as \`${answer.text.split(" ")[1]}\``);
        }
      }
      return all(failures, "none reaches it");
    },
  },
  {
    name: "Identity headers of the caller's own, with and without a session",
    outcome: "the target sees the proxy's values alone, in every spelling",
    async run(subject) {
      const browser = await signIn(subject);
      const cookie = `${subject.cookie}=${browser.jar("app.localhost").get(subject.cookie)}`;
      const failures = new Set<string>();
      for (const name of spoofed) {
        for (
          const [how, path, headers] of [["with", "/x", { Cookie: cookie }], [
            "without",
            "/public/x",
            {},
          ]] as const
        ) {
          const answer = await send(subject, path, {
            ...script,
            ...headers,
            [name]: "evil@example.com",
          });
          if (isIn(answer) && answer.text.includes("evil@example.com")) {
            failures.add(`\`${name}\` ${how} a session`);
          }
        }
      }
      return all([...failures], "its own values alone");
    },
  },
  {
    name: "A WebSocket from another origin's page, with the cookie",
    outcome: "403",
    async run(subject) {
      const browser = await signIn(subject);
      const cookies = browser.cookies("app.localhost");
      const { status, connection } = await openSocket(subject, cookies, originOf(subject, "other"));
      connection.destroy();
      return { isRight: status === 403, seen: String(status) };
    },
  },
  {
    name: "A form that a sibling host's page sends, with the cookie",
    outcome: "403",
    async run(subject) {
      const browser = await signIn(subject);
      const answer = await browser.send(`${originOf(subject, "app")}/x`, {
        method: "POST",
        headers: {
          ...{ "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate" },
          Origin: originOf(subject, "other"),
        },
      });
      return { isRight: answer.status === 403, seen: String(answer.status) };
    },
  },
  {
    name: "A cookie that was copied before its owner signed out",
    outcome: "no session",
    async run(subject) {
      const browser = await signIn(subject);
      const cookie = `${subject.cookie}=${browser.jar("app.localhost").get(subject.cookie)}`;
      await signOut(subject, browser);
      const answer = await send(subject, "/x", { ...script, Cookie: cookie });
      return { isRight: !isIn(answer), seen: isIn(answer) ? "let in" : String(answer.status) };
    },
  },
  {
    name: "An open WebSocket whose owner signs out",
    outcome: "closed within 2 s",
    async run(subject) {
      const browser = await signIn(subject);
      const cookies = browser.cookies("app.localhost");
      const { connection } = await openSocket(subject, cookies, originOf(subject, "app"));
      await signOut(subject, browser);
      const isClosed = await isClosedWithin(connection, 2_000);
      connection.destroy();
      return { isRight: isClosed, seen: isClosed ? "closed" : "stays open" };
    },
  },
  {
    name: "An image on any page whose URL is that of signing out",
    outcome: "nobody is signed out",
    async run(subject) {
      const browser = await signIn(subject);
      const url = originOf(subject, "app") + subject.signOut.path;
      await browser.send(url, {
        headers: {
          "Sec-Fetch-Dest": "image",
          "Sec-Fetch-Mode": "no-cors",
          "Sec-Fetch-Site": "cross-site",
        },
      });
      const answer = await browser.send(`${originOf(subject, "app")}/x`, { headers: script });
      return {
        isRight: answer.status === 200,
        seen: answer.status === 200 ? "still signed in" : "signed out",
      };
    },
  },
  {
    name:
      "An answer of the target's that shared caches may keep, and a cookie for the whole domain",
    outcome: "`private`, and no such cookie",
    async run(subject) {
      const browser = await signIn(subject);
      const answer = await browser.send(`${originOf(subject, "app")}/x`);
      const cache = String(answer.headers["cache-control"]);
      const isWide = String(answer.headers["set-cookie"]).includes("Domain=");
      return {
        isRight: cache.includes("private") && !isWide,
        seen: `${cache}; ${isWide ? "the cookie is passed on" : "no cookie"}`,
      };
    },
  },
];

async function signOut(subject: Subject, browser: SocketBrowser): Promise<void> {
  const { method, path } = subject.signOut;
  const origin = originOf(subject, "app");
  await browser.send(origin + path, {
    method,
    headers: { Origin: origin, "Sec-Fetch-Site": "same-origin" },
  });
}

/** The URL to which a browser comes at last, or of which it is told to go elsewhere. */
async function follow(
  browser: SocketBrowser,
  subject: Subject,
  first: { readonly location: string | undefined },
  path: string,
): Promise<string> {
  const origin = originOf(subject, "app");
  if (first.location === undefined) return `${origin}/`;
  // The cookies of the first answer are needed: it is asked for again by the browser.
  let url = URL.parse(path, origin)?.origin === origin ? new URL(path, origin).href : `${origin}/`;
  if (new URL(first.location, origin).hostname.includes("evil")) {
    return new URL(first.location, origin).href;
  }
  for (let hops = 0; hops < 12; hops++) {
    const { headers: { location } } = await browser.send(url, { headers: navigation });
    if (typeof location !== "string") return url;
    url = new URL(location, url).href;
    const { hostname } = new URL(url);
    if (!hostname.endsWith("localhost") && hostname !== "127.0.0.1") return url;
  }
  return url;
}
