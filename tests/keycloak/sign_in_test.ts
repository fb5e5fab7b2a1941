import assert from "node:assert/strict";
import { Browser, navigation, type Page, World } from "../signin/world.ts";
import { ann, Keycloak, keycloakHome } from "./keycloak.ts";

const app = "https://app.example.com";
const login = "https://login.example.com";
const script = { "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin" };
const stale = 10 * 60_000 + 1;

if (!keycloakHome) console.error("SKIPPED: KEYCLOAK_HOME does not say where Keycloak is");

/** Fills in the form of Keycloak's page. */
async function logIn(browser: Browser, page: Page): Promise<Page> {
  const html = await page.answer.text();
  const action = /<form[^>]* action="([^"]+)"/.exec(html)?.[1]?.replaceAll("&amp;", "&");
  assert.ok(action, html.slice(0, 500));
  const answer = await browser.send(action, {
    method: "POST",
    headers: { "Content-Type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({ username: ann.name, password: ann.password }).toString(),
  });
  await answer.body?.cancel();
  const location = answer.headers.get("Location");
  assert.ok(location, `Keycloak answered ${answer.status}`);
  return await browser.open(location);
}

async function status(browser: Browser): Promise<number> {
  const answer = await browser.send(`${app}/x`, { headers: script });
  await answer.body?.cancel();
  return answer.status;
}

Deno.test({
  name: "People sign in at Keycloak, are refreshed with rotating tokens, and signed out from there",
  ignore: !keycloakHome,
  async fn(t) {
    let world: World | undefined = undefined as World | undefined;
    // Keycloak does not know the login host's name.
    const backChannel = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      (request) => world!.answer(new Request(`${login}/.culvert/backchannel-logout`, request)),
    );
    await using keycloak = await Keycloak.start(keycloakHome!, {
      redirectUri: `${login}/.culvert/callback`,
      signedOutUri: `${login}/.culvert/signed-out`,
      backChannelLogoutUrl: `http://127.0.0.1:${backChannel.addr.port}/`,
    });
    world = await World.create(keycloak);
    const { sessions } = world;
    const browser = new Browser(world);

    await t.step("the first page is Keycloak's, and then the one that was asked for", async () => {
      const page = await browser.open(`${app}/deep%2F?x=1`);
      assert.equal(new URL(page.url).origin, new URL(keycloak.issuer).origin);
      const arrived = await logIn(browser, page);
      assert.equal(arrived.url, `${app}/deep%2F?x=1`);
      assert.equal(await arrived.answer.text(), "hello ann@example.com at /deep%2F?x=1");
      assert.deepEqual(world!.forwarded.at(-1)!.session.claims["groups"], ["ops"]);
    });

    await t.step(
      "fifty requests with old claims cause one refresh, and so again later on",
      async () => {
        for (let times = 0; times < 2; times++) {
          // An old token that comes in the same second is no reuse to Keycloak; later it ends all.
          await new Promise((resolve) => setTimeout(resolve, 2_100));
          const before: unknown = world!.forwarded.at(-1)!.session.refreshToken;
          world!.aheadMs += stale;
          const all = await Promise.all(Array.from({ length: 50 }, () => status(browser)));
          assert.deepEqual([...new Set(all)], [200]);
          const tokens = new Set<unknown>();
          for (const { session } of world!.forwarded.slice(-50)) tokens.add(session.refreshToken);
          assert.equal(tokens.size, 1);
          assert.ok(!tokens.has(before));
        }
      },
    );

    await t.step(
      "signing out at Keycloak ends the session here, and one can sign in again",
      async () => {
        // Logout tokens count for minutes only, by the relay's clock.
        world!.aheadMs = 0;
        const { session } = world!.forwarded.at(-1)!;
        const grant = world!.signIn.grantOf(session);
        assert.ok(grant.isValid(Date.now()));
        await keycloak.logOut(ann.name);
        assert.deepEqual(world!.lines.filter(({ message }) => message.startsWith("Refused")), []);
        assert.equal(sessions.size, 0);
        assert.ok(!grant.isValid(Date.now()));
        assert.equal(await status(browser), 401);
        // ID tokens of the second of the logout count as from before it.
        await new Promise((resolve) => setTimeout(resolve, 1_100));
        const page = await browser.open(`${app}/`);
        assert.equal((await logIn(browser, page)).answer.status, 200);
      },
    );

    await t.step(
      "signing out here leads to Keycloak's own page, which knows the client",
      async () => {
        const out = await browser.send(`${app}/.culvert/logout`, {
          method: "POST",
          headers: { Origin: app },
        });
        assert.equal(out.status, 303);
        const page = await browser.send(out.headers.get("Location")!, { headers: navigation });
        await page.body?.cancel();
        assert.ok([200, 302].includes(page.status), `Keycloak answered ${page.status}`);
        assert.equal(await status(browser), 401);
      },
    );
    await backChannel.shutdown();
  },
});
