import assert from "node:assert/strict";
import { eventually, within } from "../support/deadline.ts";
import { openConnection } from "../support/raw_connection.ts";
import { answering, startRawTarget } from "../support/target.ts";
import { originOf, SocketBrowser, startSystem } from "./programs.ts";
import { navigation } from "./world.ts";

/** Some paths never end. */
const target = answering(({ bytes }) => {
  const head = new TextDecoder("latin1").decode(bytes);
  if (head.startsWith("GET /hold")) return "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfir";
  return "HTTP/1.1 204 No Content\r\n\r\n";
});

/** The value of a hidden field. */
function hidden(text: string, name: string): string {
  const match = new RegExp(`<input type="hidden" name="${name}" value="([^"]*)"`).exec(text);
  assert.ok(match, `no field ${name}: ${text}`);
  return match[1]!;
}

function form(fields: Record<string, string>, headers: Record<string, string> = {}) {
  return {
    method: "POST",
    headers: { "Content-Type": "application/x-www-form-urlencoded", ...headers },
    body: String(new URLSearchParams(fields)),
  };
}

Deno.test("People whom login.statusPolicy names see the status on the login host, and may end things", async (t) => {
  await using raw = await startRawTarget(target);
  await using system = await startSystem(
    raw.address,
    (text) =>
      text.replace("provider: corp }", "provider: corp, statusPolicy: staff }")
        .replace("policy: staff,\n", "policy: staff, recentRequests: 5,\n"),
  );
  const login = originOf(system, "login");
  const app = originOf(system, "app");
  const browser = new SocketBrowser();

  await t.step(
    "somebody who has not signed in is sent to, and comes back to the page",
    async () => {
      const script = await browser.send(`${login}/status`, { headers: { Accept: "*/*" } });
      assert.equal(script.status, 401);
      const page = await browser.open(`${login}/status?sort=state`);
      assert.equal(page.url, `${login}/status?sort=state`);
      assert.equal(page.status, 200, page.text);
      assert.match(page.text, /<h1>Status<\/h1>/);
    },
  );

  await t.step("the page shows agents, services and sessions", async () => {
    const { text, headers } = await browser.open(`${login}/status`);
    for (
      const expected of [
        ...[">dev<", "127.0.0.1", "culvert-agent/", ">app<", ">closed<", "open to everybody"],
        ...["ann@example.com", "app.localhost", "People&#39;s sessions", "No limit was hit"],
      ]
    ) {
      assert.ok(text.includes(expected), `${expected} in ${text}`);
    }
    const policy = String(headers["content-security-policy"]);
    assert.match(policy, /^default-src 'none';/);
    assert.match(policy, /script-src 'self'; connect-src 'self'/);
    assert.doesNotMatch(policy, /unsafe|\*/);
    assert.doesNotMatch(text, /<script(?![^>]* src="\/)|\son[a-z]+=|\sstyle=|<style/);
    const script = await browser.send(`${login}/.culvert/status.js`);
    assert.equal(script.status, 200);
    assert.match(String(script.headers["content-type"]), /^text\/javascript/);
  });

  await t.step("a form without the page's token ends nothing", async () => {
    const { text } = await browser.open(`${login}/status`);
    const link = /href="(\/status\/end\?what=agent[^"]*)"/.exec(text)![1]!.replaceAll("&amp;", "&");
    const question = await browser.open(login + link);
    assert.match(question.text, /Disconnect this agent\?/);
    const fields = { what: "agent", id: hidden(question.text, "id") };
    const token = hidden(question.text, "token");
    for (
      const wrong of [
        form(fields),
        form({ ...fields, token: `${token.slice(0, -1)}x` }),
        form({ ...fields, token }, { "Sec-Fetch-Site": "same-site" }),
        form({ ...fields, token }, { "Sec-Fetch-Site": "cross-site" }),
      ]
    ) {
      const answer = await browser.send(`${login}/status/end`, wrong);
      assert.equal(answer.status, 403);
    }
    const stranger = await new SocketBrowser().send(
      `${login}/status/end`,
      form({ ...fields, token }),
    );
    assert.equal(stranger.status, 401);
    assert.match((await browser.open(`${login}/status`)).text, /culvert-agent\//);
  });

  await t.step("a stream that is ended breaks off, and the log says who did it", async () => {
    await browser.open(`${app}/`);
    await using connection = await openConnection(`127.0.0.1:${system.port}`);
    const cookie = browser.cookies("app.localhost");
    await connection.write(
      `GET /hold HTTP/1.1\r\nHost: app.localhost:${system.port}\r\nCookie: ${cookie}\r\n\r\n`,
    );
    let link: string | undefined;
    await eventually(async () => {
      const { text } = await browser.open(`${login}/status/streams`);
      link = /href="(\/status\/end\?what=stream[^"]*)"/.exec(text)?.[1]?.replaceAll("&amp;", "&");
      return link !== undefined;
    }, "the stream to be listed");
    const question = await browser.open(login + link);
    assert.match(question.text, /GET \/hold/);
    await eventually(
      async () => /0 B \/ 3 B/.test((await browser.open(`${login}/status/streams`)).text),
      "the list to say what the stream has carried",
    );
    const fields = { what: "stream", id: hidden(question.text, "id") };
    const answer = await browser.send(
      `${login}/status/end`,
      form({ ...fields, token: hidden(question.text, "token") }),
    );
    assert.equal(answer.status, 303, answer.text);
    await within(connection.closed, "the stream to end");
    const line = await system.relay.waitForLog(({ message }) =>
      message.startsWith("Ending a stream")
    );
    assert.equal(line["by"], "ann@example.com");
  });

  await t.step("the latest requests are listed of services that keep them", async () => {
    await browser.open(`${app}/deep/path?secret=1`);
    await browser.open(`${originOf(system, "other")}/elsewhere`);
    const { text } = await browser.open(`${login}/status/requests`);
    assert.match(text, /GET <bdi>\/deep\/path<\/bdi>/);
    assert.doesNotMatch(text, /secret|elsewhere/);
  });

  await t.step("a service is checked through its agent, as far as its target", async () => {
    const question = await browser.open(`${login}/status/check?service=app`);
    const token = hidden(question.text, "token");
    const check = (fields: Record<string, string>) =>
      browser.send(`${login}/status/check`, form({ service: "app", ...fields }));
    assert.equal((await check({})).status, 403);
    const { text } = await check({ token });
    assert.match(text, /The target answered 204 No Content\./);
    const missing = await browser.open(`${login}/status/check?service=nothing`);
    assert.equal(missing.status, 404);
  });

  await t.step("events tell of changes, and end with the session", async () => {
    await using connection = await openConnection(`127.0.0.1:${system.port}`);
    const cookie = browser.cookies("login.localhost");
    await connection.write(
      `GET /status/events HTTP/1.1\r\nHost: login.localhost:${system.port}\r\nCookie: ${cookie}\r\n\r\n`,
    );
    const decoder = new TextDecoder();
    let received = "";
    const receives = async (text: string) => {
      while (!received.includes(text)) {
        const bytes = await within(connection.reader.readSome(), text);
        assert.ok(bytes, `ended before ${text}: ${received}`);
        received += decoder.decode(bytes, { stream: true });
      }
    };
    await receives("text/event-stream");
    await receives("retry: ");
    const question = await browser.open(
      `${login}/status/end?what=agent&id=${await agentId(browser, login)}`,
    );
    const fields = { what: "agent", id: hidden(question.text, "id") };
    const ended = await browser.send(
      `${login}/status/end`,
      form({ ...fields, token: hidden(question.text, "token") }),
    );
    assert.equal(ended.status, 303);
    await receives("event: changed");
    await browser.send(`${login}/.culvert/logout`, { method: "POST", headers: { Origin: login } });
    await receives("event: over");
    assert.equal((await browser.send(`${login}/status`)).status, 401);
  });

  await t.step("whom the policy does not name may not see the status", async () => {
    await Deno.writeTextFile(
      system.services,
      system.text.replace("statusPolicy: staff", "statusPolicy: admins"),
    );
    await system.relay.waitForLog(({ message, source }) =>
      message === "Configuration reloaded" && source === "services"
    );
    const page = await browser.open(`${login}/status`);
    assert.equal(page.status, 403);
    assert.match(page.text, /You may not see the status/);
    const portal = await browser.open(`${login}/`);
    assert.doesNotMatch(portal.text, /href="\/status"/);
    for (const path of ["end?what=agent&id=x", "check?service=app", "events", "clusters"]) {
      const answer = await browser.send(`${login}/status/${path}`, { headers: navigation });
      assert.equal(answer.status, 403, path);
    }
  });
});

async function agentId(browser: SocketBrowser, login: string): Promise<string> {
  const { text } = await browser.open(`${login}/status`);
  return /\/status\/end\?what=agent&amp;id=([^"]+)"/.exec(text)![1]!;
}
