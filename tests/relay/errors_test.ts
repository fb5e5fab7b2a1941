import assert from "node:assert/strict";
import { type StreamErrorCode, streamErrorCodes } from "../../lib/protocol/errors.ts";
import {
  badResponse,
  clusterNotAvailable,
  relayStopping,
  responseTimeout,
} from "../../lib/relay/availability_errors.ts";
import { callerUnknown, impersonationNotAllowed } from "../../lib/relay/caller_errors.ts";
import { answerError } from "../../lib/relay/error_response.ts";
import type { RelayError } from "../../lib/relay/relay_error.ts";
import { bodyTooLarge } from "../../lib/relay/request_errors.ts";
import { because, fromStreamError } from "../../lib/relay/stream_errors.ts";
import { limitErrors } from "../../lib/relay/limits/limit_errors.ts";
import { bodyFaults, handshakeFaults, headFaults } from "../../lib/http1/faults.ts";
import { field } from "../../lib/http1/head.ts";
import { Setup } from "../net/setup.ts";
import { errorText } from "../support/error_body.ts";
import { withoutDate } from "../support/date_field.ts";

/** A connection on which a request has come. */
async function serving(...lines: string[]) {
  const setup = new Setup();
  const fields = ["Host: relay", ...lines].map((line) => `${line}\r\n`).join("");
  setup.caller.send(`GET / HTTP/1.1\r\n${fields}\r\n`);
  const { exchange } = await setup.request();
  return { setup, exchange };
}

Deno.test("because tells each fault of an answer apart, and repeats nothing that is none of ours", () => {
  const faults = [headFaults, bodyFaults, handshakeFaults].flatMap(Object.values)
    .map((fault) => typeof fault === "string" ? fault : fault(7));
  const messages = faults.map((fault) => because(badResponse, fault).message);
  assert.deepEqual(messages, faults.map((fault) => `${badResponse.message}: ${fault}`));
  assert.equal(new Set(messages).size, messages.length);
  assert.equal(because(badResponse, "10.0.0.1 said no").message, badResponse.message);
});

Deno.test("fromStreamError gives each reason its status", () => {
  const statuses: Record<StreamErrorCode, number> = {
    refused: 502,
    unreachable: 502,
    timeout: 504,
    tls: 502,
    forbidden: 403,
    limit: 503,
    protocol: 502,
    reset: 502,
    internal: 502,
    credentials: 503,
    kind_not_supported: 502,
    path_not_served: 404,
  };
  const found = Object.fromEntries(
    streamErrorCodes.map((code) => [code, fromStreamError(code).status]),
  );
  assert.deepEqual(found, statuses);
});

Deno.test("fromStreamError keeps the reason's code, and asks to come back only where that helps", () => {
  for (const code of streamErrorCodes) {
    const error = fromStreamError(code);
    assert.equal(error.code, code);
    assert.equal(error.retryAfterSeconds, code === "limit" ? 1 : undefined, code);
  }
});

Deno.test("answerError answers with status, code and message, and nothing that is stored", async () => {
  const { setup, exchange } = await serving();
  await using _ = setup;
  answerError(exchange, clusterNotAvailable);
  const body = errorText(502, "cluster_not_available", "cluster not available");
  const answer = "HTTP/1.1 502 Bad Gateway\r\nContent-Type: application/json\r\n" +
    `Cache-Control: no-store\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  assert.equal(withoutDate(await setup.caller.response(answer)), answer);
});

Deno.test("answerError gives kubectl's first request text, which is all that it shows", async () => {
  const accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
  const { setup, exchange } = await serving(`Accept: ${accept},application/json`);
  await using _ = setup;
  answerError(exchange, clusterNotAvailable);
  const answer = "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\n" +
    "Cache-Control: no-store\r\nContent-Length: 21\r\n\r\ncluster not available";
  assert.equal(withoutDate(await setup.caller.response(answer)), answer);
});

Deno.test("answerError warns kubectl where it would show a text of its own for a status", async (t) => {
  const discovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
  const hidden = [
    callerUnknown,
    limitErrors.relay.rate,
    relayStopping,
    responseTimeout,
    bodyTooLarge,
  ];
  for (const error of hidden) {
    await t.step(`kubectl's first request, ${error.status}`, async () => {
      const text = await answerTo("/api", discovery, error);
      assert.match(text, new RegExp(`\\r\\nWarning: 299 - "${error.message}"\\r\\n`));
      assert.match(text, new RegExp(`^HTTP/1.1 ${error.status} `));
      assert.equal(text.endsWith(`\r\n\r\n${error.message}`), true, "as text");
    });
  }
  for (const path of ["/version", "/openapi/v2?timeout=32s", "/openapi/v3/apis/apps/v1?hash=A"]) {
    await t.step(`what kubectl does not read: ${path}`, async () => {
      const text = await answerTo(`/tunnel/a${path}`, "*/*", clusterNotAvailable);
      assert.match(text, /\r\nWarning: 299 - "cluster not available"\r\n/);
      assert.match(text, /"kind":"Status"/);
    });
  }
  await t.step("no warning beside a text that is shown", async () => {
    const cited = [clusterNotAvailable, impersonationNotAllowed("a")];
    for (const error of cited) {
      assert.doesNotMatch(await answerTo("/api", discovery, error), /Warning/);
    }
    assert.doesNotMatch(await answerTo("/api/v1/pods", "*/*", limitErrors.relay.rate), /Warning/);
  });
  await t.step("a message with quotes", async () => {
    const text = await answerTo("/version", "*/*", impersonationNotAllowed("a"));
    assert.match(text, /its entry can say \\"impersonation\\": \\"forward\\" or \\"strip\\""\r\n/);
  });
});

async function answerTo(path: string, accept: string, error: RelayError): Promise<string> {
  const setup = new Setup();
  await using _ = setup;
  setup.caller.send(`GET ${path} HTTP/1.1\r\nHost: relay\r\nAccept: ${accept}\r\n\r\n`);
  const { exchange } = await setup.request();
  answerError(exchange, error);
  await setup.settled();
  return setup.caller.text;
}

Deno.test("answerError says what a caller can prove itself with", async () => {
  const { setup, exchange } = await serving();
  await using _ = setup;
  answerError(exchange, callerUnknown);
  await setup.settled();
  assert.match(
    setup.caller.text,
    /^HTTP\/1\.1 401 Unauthorized\r\n.*\r\nWWW-Authenticate: Bearer\r\n/s,
  );
});

Deno.test("answerError says when to come back", async () => {
  const { setup, exchange } = await serving();
  await using _ = setup;
  answerError(exchange, limitErrors.relay.rate);
  await setup.settled();
  assert.match(setup.caller.text, /^HTTP\/1\.1 429 Too Many Requests\r\n.*\r\nRetry-After: 1\r\n/s);
});

Deno.test("answerError breaks a connection whose answer has begun", async () => {
  const { setup, exchange } = await serving();
  await using _ = setup;
  exchange.respond(200, "OK", [field("Content-Length", "10")], "framed");
  await setup.settled();
  answerError(exchange, clusterNotAvailable);
  assert.deepEqual(await setup.caller.closed(), ["error ECONNRESET", "close"]);
  assert.equal(setup.caller.text, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
});
