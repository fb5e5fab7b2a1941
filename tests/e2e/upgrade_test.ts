/** exec, attach, port-forward and cp: requests that become connections, by either transport. */
import { deepEqual, equal, match } from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type { LiveCommand } from "./command.ts";
import { deleteAtEnd, scratchFolder, scratchName, sha256 } from "./scratch.ts";
import { assertTransport, logsRequests, transports } from "./transport.ts";
import { type Tunnel, tunnelTest } from "./tunnel.ts";

const TEN_MEGABYTES = 10_000_000;
const FIFTY_MEGABYTES = 50_000_000;

for (const transport of transports) {
  const { name, env } = transport;

  tunnelTest(`kubectl exec over ${name} passes stdin and the exit code`, async (tunnel) => {
    const result = await tunnel.caller.kubectl(
      ["exec", logsRequests, "-i", "box", "--", "sh", "-c", "cat; echo to stderr >&2; exit 7"],
      { env, stdin: "from stdin\n" },
    );
    assertTransport(transport, "exec", result.stderr);
    equal(result.stdout, "from stdin\n");
    match(result.stderr, /^to stderr$/m);
    match(result.stderr, /^command terminated with exit code 7$/m);
    equal(result.code, 7);
  });

  tunnelTest(`kubectl exec over ${name} echoes 10 MB byte for byte`, async (tunnel) => {
    const sent = randomBytes(TEN_MEGABYTES);
    const args = ["exec", logsRequests, "-i", "box", "--", "cat"];
    const result = await tunnel.caller.kubectl(args, { env, stdin: sent });
    equal(result.code, 0, result.stderr);
    assertTransport(transport, "exec", result.stderr);
    equal(result.stdoutBytes.length, sent.length);
    equal(sha256(result.stdoutBytes), sha256(sent));
    await tunnel.untilIdle();
  });

  tunnelTest(`kubectl exec over ${name} holds a conversation`, async (tunnel) => {
    await using shell = tunnel.caller.start(["exec", logsRequests, "-i", "box", "--", "sh"], env);
    for (const word of ["one", "two", "three"]) {
      await shell.write(`echo heard ${word}\n`);
      await shell.waitForLine((line) => line === `heard ${word}`);
    }
    await shell.write("exit 3\n");
    equal(await shell.ended(), 3);
    await tunnel.untilIdle();
    assertTransport(transport, "exec", shell.stderr);
  });

  tunnelTest(
    `kubectl attach over ${name} shows what the pod prints from now on`,
    async (tunnel) => {
      await using attached = tunnel.caller.start(["attach", logsRequests, "box"], env);
      const lines = await attached.waitForLines(3);
      const first = Number(lines[0]!.text.replace("tick ", ""));
      deepEqual(
        lines.map(({ text }) => text),
        [0, 1, 2].map((index) => `tick ${first + index}`),
      );
      assertTransport(transport, "attach", attached.stderr);
    },
  );

  tunnelTest(`kubectl attach -i over ${name} talks to the pod's own process`, async (tunnel) => {
    await using stack = new AsyncDisposableStack();
    const pod = await startEchoPod(stack, tunnel);
    const attached = stack.use(tunnel.caller.start(["attach", logsRequests, "-i", pod], env));
    for (const word of ["first", "second"]) {
      await attached.write(`${word}\n`);
      await attached.waitForLine((line) => line === word);
    }
    assertTransport(transport, "attach", attached.stderr);
  });

  tunnelTest(
    `kubectl port-forward over ${name} carries several connections at once`,
    async (tunnel) => {
      await using stack = new AsyncDisposableStack();
      const files = [await serveFile(stack, tunnel, 2_000_000), await serveFile(stack, tunnel, 50)];
      const args = ["port-forward", logsRequests, "pod/box", ":8765"];
      const forward = stack.use(tunnel.caller.start(args, env));
      const url = await forwardedUrl(forward);

      const wanted = Array.from({ length: 12 }, (_, index) => files[index % 2]!);
      const digests = await Promise.all(wanted.map((file) => digestOf(`${url}/${file.name}`)));
      deepEqual(digests, wanted.map(({ digest }) => digest));
      for (const file of files) equal(await digestOf(`${url}/${file.name}`), file.digest);

      const handled = forward.lines.filter(({ text }) => text.startsWith("Handling connection"));
      equal(handled.length, wanted.length + files.length);
      assertTransport(transport, "portforward", forward.stderr);
      await forward.kill();
      await tunnel.untilIdle();
    },
  );

  tunnelTest(`kubectl cp over ${name} copies 50 MB there and back`, async (tunnel) => {
    await using stack = new AsyncDisposableStack();
    const folder = await scratchFolder(stack);
    const remote = `/tmp/${scratchName()}`;
    stack.defer(() => removeInBox(tunnel, remote));
    const content = randomBytes(FIFTY_MEGABYTES);
    await Deno.writeFile(`${folder}/there`, content);

    await tunnel.caller.output(["cp", `${folder}/there`, `box:${remote}`], { env });
    const sum = await tunnel.direct.output([
      "exec",
      "box",
      "--",
      "/bin/busybox",
      "sha256sum",
      remote,
    ]);
    equal(sum.split(" ")[0], sha256(content));

    await tunnel.caller.output(["cp", `box:${remote}`, `${folder}/back`], { env });
    equal(sha256(await Deno.readFile(`${folder}/back`)), sha256(content));
    await tunnel.untilIdle();
  });
}

/** Starts a pod whose process sends back the lines it reads, and waits until it is ready. */
async function startEchoPod(stack: AsyncDisposableStack, tunnel: Tunnel): Promise<string> {
  const name = scratchName();
  deleteAtEnd(stack, tunnel.direct, "pod", name);
  const container = {
    name: "echo",
    image: "docker.io/local/busybox:1",
    imagePullPolicy: "Never",
    command: ["/bin/cat"],
    stdin: true,
  };
  const spec = {
    hostNetwork: true,
    automountServiceAccountToken: false,
    terminationGracePeriodSeconds: 0,
    containers: [container],
  };
  const pod = { apiVersion: "v1", kind: "Pod", metadata: { name }, spec };
  await tunnel.direct.output(["create", "-f", "-"], { stdin: JSON.stringify(pod) });
  await tunnel.direct.output(["wait", "--for=condition=Ready", `pod/${name}`, "--timeout=50s"]);
  return name;
}

/** A file of random bytes, made inside the pod, among those that its HTTP server serves. */
async function serveFile(
  stack: AsyncDisposableStack,
  tunnel: Tunnel,
  bytes: number,
): Promise<{ name: string; digest: string }> {
  const name = scratchName();
  const path = `/etc/${name}`;
  stack.defer(() => removeInBox(tunnel, path));
  const script = `head -c ${bytes} /dev/urandom > ${path}; /bin/busybox sha256sum ${path}`;
  const sum = await tunnel.direct.output(["exec", "box", "--", "sh", "-c", script]);
  return { name, digest: sum.slice(0, 64) };
}

async function removeInBox(tunnel: Tunnel, path: string): Promise<void> {
  await tunnel.direct.output(["exec", "box", "--", "/bin/busybox", "rm", "-f", path]);
}

/** Where a `kubectl port-forward … :PORT` listens. */
async function forwardedUrl(forward: LiveCommand): Promise<string> {
  const line = await forward.waitForLine((text) => text.startsWith("Forwarding from 127.0.0.1:"));
  const port = /^Forwarding from 127\.0\.0\.1:(\d+) -> /.exec(line.text)?.[1];
  return `http://127.0.0.1:${port}`;
}

async function digestOf(url: string): Promise<string> {
  const response = await fetch(url);
  equal(response.status, 200, url);
  return sha256(await response.bytes());
}
