/**
 * `deno run -A tests/bench/web_listener.ts [--megabytes N] [--seconds N]`: what a listener carries over
 * HTTP/2 and HTTP/1.1 with TLS, and over plain HTTP/1.1 as the internal listener does, without a tunnel
 * behind it. Bulk is curl's, which must be installed; small requests are fetch's, 32 at a time.
 */
import { parseArgs } from "node:util";
import { dateField } from "../../lib/http1/date.ts";
import { defaultHeadLimits, field } from "../../lib/http1/head.ts";
import type { Exchange } from "../../lib/net/exchange.ts";
import { defaultConnectionTimeouts } from "../../lib/net/http_connection.ts";
import { HttpServer } from "../../lib/runtime/node/http_server.ts";
import { WebCertificates } from "../../lib/runtime/node/web/web_certificates.ts";
import { addPair } from "../web/setup.ts";
import { Authority, withFolder } from "../support/certificates.ts";

const { values } = parseArgs({
  options: {
    megabytes: { type: "string", default: "200" },
    seconds: { type: "string", default: "3" },
    /** Of the process with the listeners alone. */
    serve: { type: "string" },
  },
});
const bytes = Number(values.megabytes) * 1_000_000;
const chunk = new Uint8Array(64 * 1024);
const parallel = 32;

function handle(exchange: Exchange): void {
  if (exchange.head.method === "POST") return sink(exchange);
  if (exchange.head.target === "/small") {
    return exchange.answer(200, "OK", [dateField()], new TextEncoder().encode("hello"));
  }
  let left = bytes;
  exchange.respond(200, "OK", [field("Content-Length", String(bytes))], "framed");
  const pump = (): void => {
    while (left > 0) {
      const piece = left < chunk.length ? chunk.subarray(0, left) : chunk;
      left -= piece.length;
      if (!exchange.write(piece)) return;
    }
    exchange.finish();
  };
  exchange.onDrain = pump;
  pump();
}

function sink(exchange: Exchange): void {
  exchange.readBody({
    data() {},
    end: () => exchange.answer(200, "OK", [dateField()], new Uint8Array(0)),
  });
}

/** Serves until its standard input ends; tells the two ports. */
async function serve(folder: string): Promise<void> {
  const common = {
    fetch: (
      _: Request,
      { exchange, alreadyAnswered }: { exchange: Exchange; alreadyAnswered: Response },
    ) => {
      handle(exchange);
      return alreadyAnswered;
    },
    limits: defaultHeadLimits,
    timeouts: defaultConnectionTimeouts,
    connections: { max: 0, maxPerAddress: 0 },
    fault: (error: unknown) => console.error(error),
  };
  const web = new HttpServer({
    ...common,
    certificates: await WebCertificates.load(folder),
    passThrough: () => undefined,
  });
  const plain = new HttpServer(common);
  const ports = [await web.listen("127.0.0.1", 0), await plain.listen("127.0.0.1", 0)];
  console.log(ports.map(({ port }) => port).join(" "));
  for await (const _ of Deno.stdin.readable);
  web.close();
  plain.close();
}

/** Bytes a second, by curl's own watch. */
async function bulk(args: readonly string[], direction: "download" | "upload"): Promise<number> {
  const command = new Deno.Command("curl", {
    args: ["-sS", "-o", "/dev/null", "-w", `%{speed_${direction}}`, ...args],
    stdout: "piped",
    stderr: "inherit",
  });
  const { stdout } = await command.output();
  return Number(new TextDecoder().decode(stdout));
}

async function requestsPerSecond(url: string, client: Deno.HttpClient): Promise<number> {
  const ends = performance.now() + Number(values.seconds) * 1_000;
  let count = 0;
  const call = async (): Promise<void> => {
    while (performance.now() < ends) {
      const response = await fetch(url, { client });
      await response.arrayBuffer();
      count++;
    }
  };
  await Promise.all(Array.from({ length: parallel }, call));
  return count / Number(values.seconds);
}

async function measure(root: string, ports: readonly number[], caPath: string): Promise<void> {
  const [web, plain] = ports;
  const ca = await Deno.readTextFile(caPath);
  const upload = `${root}/upload`;
  await Deno.writeFile(upload, new Uint8Array(bytes));
  const rows = [
    {
      name: "HTTP/2, TLS",
      base: `https://localhost:${web}`,
      flags: ["--http2", "--cacert", caPath],
    },
    {
      name: "HTTP/1.1, TLS",
      base: `https://localhost:${web}`,
      flags: ["--http1.1", "--cacert", caPath],
    },
    { name: "HTTP/1.1, plain", base: `http://localhost:${plain}`, flags: ["--http1.1"] },
  ];
  for (const { name, base, flags } of rows) {
    const down = await bulk([...flags, `${base}/bulk`], "download");
    const up = await bulk(
      [...flags, "-H", "Expect:", "--data-binary", `@${upload}`, base],
      "upload",
    );
    const isH2 = flags.includes("--http2");
    using client = Deno.createHttpClient({ caCerts: [ca], http1: !isH2, http2: isH2 });
    const rate = await requestsPerSecond(`${base}/small`, client);
    const mega = (rate: number) => `${Math.round(rate / 1e6)} MB/s`;
    console.log(`${name}: ${mega(down)} down, ${mega(up)} up, ${Math.round(rate)} requests/s`);
  }
}

async function main(): Promise<void> {
  if (values.serve !== undefined) return await serve(values.serve);
  await withFolder(async (root) => {
    const authority = await Authority.create(root, "own");
    const folder = `${root}/pairs`;
    await Deno.mkdir(folder);
    await addPair({ authority, folder }, "own", "DNS:localhost");
    const script = new URL(import.meta.url).pathname;
    const server = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", script, "--serve", folder, "--megabytes", values.megabytes],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const { value } = await server.stdout.pipeThrough(new TextDecoderStream()).getReader().read();
    try {
      await measure(root, value!.trim().split(" ").map(Number), authority.caPath);
    } finally {
      await server.stdin.close();
      await server.status;
    }
  });
}

await main();
