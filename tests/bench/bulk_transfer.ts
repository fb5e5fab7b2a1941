/** Large downloads and uploads: by curl when it is installed, else with Deno's fetch. */
import { findProgram, outputOf, runToEnd } from "./subprocess.ts";

/** What was moved, in how long. */
export interface TransferFigures {
  readonly bytes: number;
  readonly seconds: number;
}

/** Moves large bodies. Both throw unless the answer is 2xx and the size as expected. */
export interface BulkTool {
  /** Name and version, for the report. */
  readonly description: string;
  /** Downloads; with `maxSeconds` it may stop before the end, which is then no error. */
  download(
    url: string,
    options: { readonly expectedBytes: number; readonly maxSeconds?: number },
    signal: AbortSignal,
  ): Promise<TransferFigures>;
  /** Sends the file with PUT. */
  upload(url: string, path: string, signal: AbortSignal): Promise<TransferFigures>;
}

/** The tool to use on this machine; `ca` is the path of the authority that signed for the target. */
export async function findBulkTool(ca: string): Promise<BulkTool> {
  const curl = findProgram("curl");
  if (curl === undefined) return new FetchTool(ca);
  const version = (await outputOf([curl, "--version"])).split(" ")[1];
  return new CurlTool(curl, version ?? "of unknown version", ca);
}

/** curl's exit code when --max-time is over. */
const CURL_TIMED_OUT = 28;

class CurlTool implements BulkTool {
  readonly description: string;
  readonly #command: readonly [string, ...string[]];

  constructor(path: string, version: string, ca: string) {
    this.description = `curl ${version}`;
    const report = '{"status":%{http_code},"down":%{size_download},"up":%{size_upload},' +
      '"seconds":%{time_total}}';
    this.#command = [
      path,
      "-sS",
      "--noproxy",
      "*",
      "--cacert",
      ca,
      "-o",
      "/dev/null",
      "-w",
      report,
    ];
  }

  async download(
    url: string,
    { expectedBytes, maxSeconds }: { expectedBytes: number; maxSeconds?: number },
    signal: AbortSignal,
  ): Promise<TransferFigures> {
    const limit = maxSeconds === undefined ? [] : ["--max-time", maxSeconds.toFixed(3)];
    const { down, seconds } = await this.#run([...limit, url], signal, maxSeconds !== undefined);
    if (maxSeconds === undefined) checkSize("Download", down, expectedBytes);
    return { bytes: down, seconds };
  }

  async upload(url: string, path: string, signal: AbortSignal): Promise<TransferFigures> {
    // Without "Expect:" curl waits up to a second for permission to send.
    const { up, seconds } = await this.#run(["-H", "Expect:", "-T", path, url], signal, false);
    checkSize("Upload", up, (await Deno.stat(path)).size);
    return { bytes: up, seconds };
  }

  async #run(args: readonly string[], signal: AbortSignal, mayTimeOut: boolean) {
    const { code, stdout, stderr } = await runToEnd([...this.#command, ...args], signal);
    const isTimedOut = mayTimeOut && code === CURL_TIMED_OUT;
    if (code !== 0 && !isTimedOut) throw new Error(`curl failed: ${stderr.trim()}`);
    const report: { status: number; down: number; up: number; seconds: number } = JSON.parse(
      stdout.replace('"status":000', '"status":0'),
    );
    // The time was over before there was an answer.
    if (isTimedOut && report.status === 0) return report;
    if (report.status < 200 || report.status > 299) {
      throw new Error(`Answer to a bulk transfer has status ${report.status}`);
    }
    return report;
  }
}

class FetchTool implements BulkTool {
  readonly description = "Deno's fetch (curl is not installed)";
  readonly #client: Deno.HttpClient;

  constructor(ca: string) {
    this.#client = Deno.createHttpClient({ caCerts: [Deno.readTextFileSync(ca)] });
  }

  async download(
    url: string,
    { expectedBytes, maxSeconds }: { expectedBytes: number; maxSeconds?: number },
    signal: AbortSignal,
  ): Promise<TransferFigures> {
    const startedMs = performance.now();
    const isOver = () => performance.now() - startedMs >= (maxSeconds ?? Infinity) * 1000;
    const response = await this.#fetch(url, { signal });
    let bytes = 0;
    for await (const chunk of response.body ?? []) {
      bytes += chunk.length;
      if (isOver()) break; // leaving the loop cancels the body
    }
    if (maxSeconds === undefined) checkSize("Download", bytes, expectedBytes);
    return { bytes, seconds: (performance.now() - startedMs) / 1000 };
  }

  async upload(url: string, path: string, signal: AbortSignal): Promise<TransferFigures> {
    const startedMs = performance.now();
    const file = await Deno.open(path);
    const { size: bytes } = await file.stat();
    const response = await this.#fetch(url, { method: "PUT", body: file.readable, signal });
    await response.body?.cancel();
    return { bytes, seconds: (performance.now() - startedMs) / 1000 };
  }

  async #fetch(url: string, init: RequestInit): Promise<Response> {
    const response = await fetch(url, { ...init, client: this.#client });
    if (response.ok) return response;
    await response.body?.cancel();
    throw new Error(`Answer to a bulk transfer has status ${response.status}`);
  }
}

function checkSize(what: string, bytes: number, expectedBytes: number): void {
  if (bytes !== expectedBytes) {
    throw new Error(`${what} moved ${bytes} of ${expectedBytes} bytes`);
  }
}
