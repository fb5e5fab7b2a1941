import assert from "node:assert/strict";
import { startAgent } from "../support/programs.ts";
import { hasRedis, Redis } from "../support/redis.ts";
import { answering, startRawTarget } from "../support/target.ts";
import { metric, startPeer, tokenOf } from "./relays.ts";

Deno.test({
  name: "a request reaches an agent through whichever relay it is sent to",
  ignore: !hasRedis,
  async fn() {
    await using target = await startRawTarget(
      answering((request) =>
        `HTTP/1.1 200 OK\r\nContent-Length: ${request.bytes.length}\r\n\r\n` +
        new TextDecoder().decode(request.bytes)
      ),
    );
    await using redis = await Redis.start();
    const options = { directory: redis.url, targets: { one: target.address } };
    await using holder = await startPeer(options);
    await using other = await startPeer(options);
    await using _agent = await startAgent({
      relayUrl: holder.connectUrl,
      token: tokenOf("one"),
      target: target.address,
    });
    await holder.waitForAgent("one");
    const response = await fetch(`${other.tunnelUrl("one")}/a/..%2Fb?c=1`, {
      headers: {
        "X-Own": "yes",
        Authorization: "Bearer callers-own",
        "X-Forwarded-For": "1.2.3.4",
      },
    });
    const head = await response.text();
    assert.equal(response.status, 200, head);
    assert.match(head, /^GET \/a\/..%2Fb\?c=1 HTTP\/1.1\r\n/);
    assert.match(head, /\r\nx-own: yes\r\n/i);
    assert.doesNotMatch(head, /culvert-|callers-own|1\.2\.3\.4|relays-of-the-tests/i);
    assert.match(head, /\r\nX-Forwarded-For: 127\.0\.0\.1\r\n/);
    assert.match(head, new RegExp(`\\r\\nX-Forwarded-Host: ${other.internalAddress}\\r\\n`));
    assert.equal(await metric(other, 'culvert_forwarded_requests_total{result="accepted"}'), 1);
  },
});
