/**
 * The kinds of traffic of a soak. Each checks what it gets to the last byte, and throws
 * {@link WrongAnswerError} for what must never be, {@link CleanFailureError} or the client's own
 * error for a failure that shows as one.
 */
import { createHash } from "node:crypto";
import { sampleBytes, samplePatternBytes } from "../../../deploy/demo/target.ts";
import { pause } from "../wait.ts";
import { areEqual } from "./bytes.ts";
import { CleanFailureError, EndedEarlyError, WrongAnswerError } from "./outcome.ts";
import type { Random } from "./random.ts";
import { exchangeOverWebSocket } from "./websocket_job.ts";

/** What a job is given. */
export interface JobContext {
  /** Base URL of the cluster, without a slash at the end. */
  readonly baseUrl: string;
  readonly client: Deno.HttpClient;
  readonly random: Random;
  /** Unique in the soak. */
  readonly id: string;
  /** Aborted when the deadline is over or the soak is interrupted. */
  readonly signal: AbortSignal;
}

/** One kind of traffic. */
export interface Job {
  readonly name: string;
  /** How often it is chosen, compared with the others. */
  readonly weight: number;
  run(context: JobContext): Promise<void>;
}

const MAX_DOWNLOAD_BYTES = 8_000_000;
const MAX_UPLOAD_BYTES = 4_000_000;
const MAX_ECHO_BYTES = 4_096;
const MAX_CHUNK_BYTES = 100_000;

/** Large enough that a download which is given up is surely under way. */
const ABANDONED_BYTES = 50_000_000;

/** All kinds of traffic. */
export const JOBS: readonly Job[] = [
  { name: "echo", weight: 40, run: echo },
  { name: "download", weight: 15, run: download },
  { name: "slow download", weight: 3, run: slowDownload },
  { name: "upload", weight: 12, run: (context) => upload(context, false) },
  { name: "chunked upload", weight: 12, run: (context) => upload(context, true) },
  { name: "events", weight: 3, run: events },
  { name: "websocket", weight: 6, run: exchangeOverWebSocket },
  { name: "aborted download", weight: 5, run: abortedDownload },
  { name: "aborted upload", weight: 4, run: abortedUpload },
];

/** Statuses that relay and agent answer with while something is not there. */
const RESTART_STATUSES = [502, 503, 504];

async function request(
  { baseUrl, client, signal }: JobContext,
  path: string,
  init: RequestInit = {},
): Promise<Response> {
  const response = await fetch(`${baseUrl}${path}`, { signal, ...init, client });
  if (response.status === 200) return response;
  const text = (await response.text()).trim().slice(0, 200);
  if (RESTART_STATUSES.includes(response.status)) {
    throw new CleanFailureError(`Status ${response.status}: ${text}`);
  }
  throw new WrongAnswerError(`Status ${response.status}: ${text}`);
}

function expectEqual(what: string, actual: unknown, expected: unknown): void {
  if (actual === expected) return;
  throw new WrongAnswerError(
    `${what} is ${JSON.stringify(actual)}, not ${JSON.stringify(expected)}`,
  );
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** What the target's `/echo` reports. */
interface Echo {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Digest;
}

/** What the target's `/upload` reports. */
interface Digest {
  readonly bytes: number;
  readonly sha256: string;
}

async function echo(context: JobContext): Promise<void> {
  const { random, id } = context;
  const method = random.pick(["GET", "POST", "PUT", "PATCH", "DELETE"]);
  const body = method === "GET" ? undefined : random.bytes(random.integer(0, MAX_ECHO_BYTES));
  const path = `/echo?id=${id}&raw=%2F..%2F&n=${random.uint32()}`;
  const headers = { "x-soak-id": id };
  const response = await request(context, path, { method, headers, body: body ?? null });
  const seen: Echo = await response.json();
  expectEqual("Method", seen.method, method);
  expectEqual("Path", seen.path, path);
  expectEqual("Header x-soak-id", seen.headers["x-soak-id"], id);
  expectEqual("Body size", seen.body.bytes, body?.length ?? 0);
  expectEqual("Body checksum", seen.body.sha256, sha256(body ?? new Uint8Array()));
}

async function download(context: JobContext): Promise<void> {
  await readDownload(context, context.random.size(MAX_DOWNLOAD_BYTES));
}

async function slowDownload(context: JobContext): Promise<void> {
  const { random, signal } = context;
  // At most some hundred chunks, so a few seconds in all.
  const pauseMs = random.integer(1, 20);
  const bytes = random.integer(1_000_000, MAX_DOWNLOAD_BYTES);
  await readDownload(context, bytes, () => pause(pauseMs, signal));
}

/** Downloads `size` bytes and checks each; `afterChunk` sets the pace. */
async function readDownload(
  context: JobContext,
  size: number,
  afterChunk?: () => Promise<void>,
): Promise<void> {
  const response = await request(context, `/download/${size}`);
  expectEqual("Content-Length", response.headers.get("content-length"), `${size}`);
  let offset = 0;
  for await (const chunk of response.body ?? []) {
    checkSample(chunk, offset);
    offset += chunk.length;
    await afterChunk?.();
  }
  expectEqual("Length of a download that looks whole", offset, size);
}

function checkSample(chunk: Uint8Array, offset: number): void {
  for (let at = 0; at < chunk.length; at += samplePatternBytes) {
    const part = chunk.subarray(at, at + samplePatternBytes);
    const expected = sampleBytes(offset + at, part.length);
    if (!areEqual(part, expected)) {
      throw new WrongAnswerError(`Download differs within bytes ${offset + at} and following`);
    }
  }
}

async function upload(context: JobContext, isChunked: boolean): Promise<void> {
  const { random } = context;
  const bytes = random.bytes(random.size(MAX_UPLOAD_BYTES));
  const body = isChunked ? inChunks(bytes, random) : bytes;
  const response = await request(context, "/upload", { method: "POST", body });
  const digest: Digest = await response.json();
  expectEqual("Upload size", digest.bytes, bytes.length);
  expectEqual("Upload checksum", digest.sha256, sha256(bytes));
}

/** A body without a known length, in pieces of random size. */
function inChunks(
  bytes: Uint8Array<ArrayBuffer>,
  random: Random,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      const chunk = bytes.subarray(at, at + random.size(MAX_CHUNK_BYTES));
      at += chunk.length;
      if (chunk.length > 0) controller.enqueue(chunk);
      if (at >= bytes.length) controller.close();
    },
  });
}

async function events(context: JobContext): Promise<void> {
  const { random } = context;
  const intervalMs = random.integer(5, 200);
  const wanted = random.integer(10, 40);
  const response = await request(context, `/events?interval_ms=${intervalMs}`);
  let text = "";
  let count = 0;
  for await (const chunk of (response.body ?? emptyBody()).pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const parts = text.split("\n\n");
    text = parts.pop() ?? "";
    for (const event of parts) {
      count++;
      expectEqual("Event", event, `id: ${count}\ndata: {"count":${count}}`);
    }
    if (count >= wanted) return; // which cancels the body
  }
  throw new EndedEarlyError(`Events ended after ${count} of ${wanted}, in good order`);
}

function emptyBody(): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({ start: (controller) => controller.close() });
}

async function abortedDownload(context: JobContext): Promise<void> {
  const wanted = context.random.size(MAX_DOWNLOAD_BYTES);
  const response = await request(context, `/download/${ABANDONED_BYTES}`);
  let offset = 0;
  for await (const chunk of response.body ?? []) {
    checkSample(chunk, offset);
    offset += chunk.length;
    if (offset >= wanted) return; // which cancels the body
  }
  throw new WrongAnswerError(`Download of ${ABANDONED_BYTES} bytes looks whole after ${offset}`);
}

/** Sends part of a body, and goes away in the middle of it. */
async function abortedUpload(context: JobContext): Promise<void> {
  const { random, signal } = context;
  const given = new AbortController();
  const chunk = random.bytes(random.size(MAX_CHUNK_BYTES));
  let left = random.integer(1, 40);
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      if (left-- > 0) return controller.enqueue(chunk);
      given.abort();
    },
  });
  try {
    const response = await request(context, "/upload", {
      method: "POST",
      body,
      signal: AbortSignal.any([signal, given.signal]),
    });
    await response.body?.cancel();
  } catch (error) {
    if (given.signal.aborted && !signal.aborted) return;
    throw error;
  }
  throw new WrongAnswerError("Upload was answered with 200 before it had ended");
}
