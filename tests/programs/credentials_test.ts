/** The agent's credential: in every request, fresh from its file, and instead of the caller's. */
import { deepEqual, equal, match } from "node:assert/strict";
import { okWith } from "../interop/contents.ts";
import { fieldValues, type RawMessage, statusOf } from "../support/raw_http.ts";
import { answering } from "../support/target.ts";
import { ask, metric, withTunnel } from "../isolation/tunnel.ts";
import { untilEqual } from "../support/deadline.ts";

/** Says which credentials a request came with. */
const tellCredentials = answering((request) =>
  okWith(JSON.stringify(fieldValues(request, "authorization")))
);

function textOf({ body }: RawMessage): string {
  return new TextDecoder().decode(body);
}

Deno.test("a rotated token is used at once, and a request without one is not sent", async (t) => {
  const folder = await Deno.makeTempDir({ prefix: "culvert-token-" });
  try {
    const path = `${folder}/token`;
    // As a projected volume does it: the new version takes the name of the old one.
    const put = async (content: string) => {
      await Deno.writeTextFile(`${path}.new`, content);
      await Deno.rename(`${path}.new`, path);
    };
    const options = { target: tellCredentials, agentArgs: ["-sa-token-path", path] };
    await withTunnel(options, async ({ relay, agent, target }) => {
      const assertUnavailable = async (error: RegExp) => {
        const sent = target.connections.map(({ receivedBytes }) => receivedBytes);
        const askInVain = async () => {
          const answer = await ask(relay, "/");
          equal(statusOf(answer), 503);
          deepEqual(JSON.parse(textOf(answer)).error, {
            code: "credentials",
            message: "the agent has no credential for the target",
          });
        };
        const line = await agent.logAfter(askInVain, ({ message }) => message === "Request failed");
        deepEqual(target.connections.map(({ receivedBytes }) => receivedBytes), sent);
        equal(line.code, "credentials");
        match(String(line.error), error);
      };

      await t.step("a file that is not there yet: 503, and a warning at start", async () => {
        await agent.waitForLog(({ level, message }) =>
          level === "warn" && /cannot be read yet: .*no such file/.test(message)
        );
        await assertUnavailable(/^The token can't be read/);
      });

      for (const token of ["first", "another", "rotated"]) {
        await t.step(`the token ${token}`, async () => {
          await put(`${token}\n`);
          const answer = await ask(relay, "/");
          equal(statusOf(answer), 200);
          deepEqual(JSON.parse(textOf(answer)), [`Bearer ${token}`]);
        });
      }

      await t.step("an empty file: 503", async () => {
        await put("\n");
        await assertUnavailable(/the file is empty/);
      });

      await t.step("a file that holds no token: 503", async () => {
        await put("one line\r\nX-Injected: another");
        await assertUnavailable(/the file holds no token/);
      });

      await t.step("a file that was taken away: 503, and right again when it is back", async () => {
        await Deno.remove(path);
        await assertUnavailable(/^The token can't be read/);
        await put("back");
        deepEqual(JSON.parse(textOf(await ask(relay, "/"))), ["Bearer back"]);
      });
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("an agent whose token file is there warns of nothing at start", async () => {
  const agent = { credential: "from-the-file" };
  await withTunnel({ target: tellCredentials, agent }, async ({ relay, agent }) => {
    deepEqual(JSON.parse(textOf(await ask(relay, "/"))), ["Bearer from-the-file"]);
    const warnings = (await agent.completeLog()).filter(({ level }) => level === "warn");
    deepEqual(warnings.map(({ message }) => message), [
      "Option --server begins with ws://: the token can be read on the way",
    ]);
  });
});

Deno.test("an agent without a token file sends no credential, not even the caller's", async () => {
  const options = { target: tellCredentials, agentArgs: ["-sa-token-path="] };
  await withTunnel(options, async ({ relay }) => {
    deepEqual(JSON.parse(textOf(await ask(relay, "/"))), []);
  });
});

/** A target that refuses every credential, as an API server does after the account is gone. */
const refuseAll = answering(
  "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: Bearer\r\n\r\n",
);
const refusals = "culvert_agent_credential_refusals_total";

Deno.test("an agent whose own credential the target refuses warns with the option, and counts it", async () => {
  const agent = { credential: "of-an-account-that-is-gone" };
  await withTunnel({ target: refuseAll, agent }, async ({ relay, agent }) => {
    for (let count = 0; count < 3; count++) equal(statusOf(await ask(relay, "/api")), 401);
    const line = await agent.waitForLog(({ status }) => status === 401);
    equal(line.level, "warn");
    match(line.message, /refused the agent's credential; .*--sa-token-path/);
    deepEqual([line.option, typeof line.path, typeof line.target], [
      "sa-token-path",
      "string",
      "string",
    ]);
    await untilEqual(() => metric(agent.healthAddress, refusals), 3);
    const log = await agent.completeLog();
    equal(log.filter(({ status }) => status === 401).length, 1, "one line a minute");
    equal(JSON.stringify(log).includes("of-an-account"), false);
  });
});

Deno.test("a 401 to a request without a credential of the agent's is the caller's affair", async () => {
  const options = { target: refuseAll, agentArgs: ["-sa-token-path="] };
  await withTunnel(options, async ({ relay, agent }) => {
    equal(statusOf(await ask(relay, "/api")), 401);
    await untilEqual(() => metric(agent.healthAddress, refusals), 0);
    equal((await agent.completeLog()).some(({ status }) => status === 401), false);
  });
});

Deno.test("an agent tells when its token expires, before any request and again when it is replaced", async () => {
  const jwt = (exp: number): string =>
    `eyJhbGciOiJSUzI1NiJ9.${btoa(JSON.stringify({ exp })).replaceAll("=", "")}.c2ln`;
  const expires = async (address: string): Promise<number> => {
    const text = await (await fetch(`http://${address}/metrics`)).text();
    const name = "culvert_agent_credential_not_after_timestamp_seconds";
    return Number(new RegExp(`^${name}\\{name="sa-token-path"\\} (\\S+)$`, "m").exec(text)?.[1]);
  };
  const options = { target: tellCredentials, agent: { credential: jwt(1_700_000_000) } };
  await withTunnel(options, async ({ relay, agent }) => {
    const line = await agent.waitForLog(({ message }) => message.includes("has expired"));
    deepEqual([line.level, line.option, line.expires], [
      "error",
      "sa-token-path",
      "2023-11-14T22:13:20.000Z",
    ]);
    equal(await expires(agent.healthAddress), 1_700_000_000);
    await agent.rotateCredential(jwt(4_000_000_000));
    equal(statusOf(await ask(relay, "/")), 200);
    equal(await expires(agent.healthAddress), 4_000_000_000);
    await agent.rotateCredential("opaque");
    equal(statusOf(await ask(relay, "/")), 200);
    equal(await expires(agent.healthAddress), NaN);
  });
});
