/**
 * The same valid requests and answers, a few thousand of them, once straight to the target and once
 * through the tunnel: what each end sees may differ only by what the relay documents.
 *
 * A failure prints its seed; `FC_SEED=<seed>` generates the same exchanges again.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import fc from "fast-check";
import { concatBytes } from "../support/byte_reader.ts";
import { within } from "../support/deadline.ts";
import { openConnection, type RawConnection } from "../support/raw_connection.ts";
import { CLUSTER, CREDENTIAL, type Tunnel, tunnelled, withTunnel } from "./tunnel.ts";
import {
  latin1,
  methodOf,
  readWireResponse,
  statusOf,
  targetOf,
  valuesOf,
  type WireField,
  type WireHead,
  type WireMessage,
} from "./wire.ts";

/** Exchanges that are on their way at once, each on a connection of its own that is kept. */
const CONCURRENCY = 16;
const RUNS = 400;
/** Fewer compared exchanges say too little, however long they take. */
const LEAST_EXCHANGES = 2_000;
/** No further run begins after this time and {@link LEAST_EXCHANGES}. */
const BUDGET_MS = 20_000;

/** A body, and how it is framed. */
interface BodyPlan {
  readonly framing: "none" | "length" | "chunked" | "close";
  readonly pieces: readonly Uint8Array[];
  /** What stands behind each chunk's size. */
  readonly extension: string;
}

/** A field as it is sent: its name, the space around its value, its value. */
type FieldPlan = readonly [name: string, before: string, value: string, after: string];

interface RequestPlan {
  readonly method: string;
  readonly path: string;
  readonly fields: readonly FieldPlan[];
  readonly body: BodyPlan;
  /** Where the request is cut into writes, as fractions of its length. */
  readonly cuts: readonly number[];
}

interface AnswerPlan {
  readonly interim: readonly (readonly [status: number, fields: readonly FieldPlan[]])[];
  readonly status: number;
  readonly reason: string;
  readonly fields: readonly FieldPlan[];
  readonly body: BodyPlan;
  readonly cuts: readonly number[];
}

interface ExchangePlan {
  readonly request: RequestPlan;
  readonly answer: AnswerPlan;
}

const tokenCharacters =
  "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

function textOf(characters: string, maxLength: number, minLength = 0): fc.Arbitrary<string> {
  const unit = fc.constantFrom(...characters);
  return fc.string({ unit, minLength, maxLength });
}

/** All characters of this range of bytes. */
function range(from: number, to: number): string {
  return Array.from({ length: to - from + 1 }, (_, at) => String.fromCharCode(from + at)).join("");
}

const visible = range(0x21, 0x7e);
const other = range(0x80, 0xff);

/** Names that the generator leaves to the plan itself, or whose meaning is another test's. */
const reserved = /^(content-length|transfer-encoding|host|expect|upgrade|connection|x-plan)$/i;

const fieldName = fc.oneof(
  { weight: 3, arbitrary: textOf(tokenCharacters, 12, 1).filter((name) => !reserved.test(name)) },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      ...["Accept", "accept", "Cookie", "COOKIE", "Set-Cookie", "X-Twice", "x-twice", "Via"],
      ...[
        "Content-Type",
        "Content-Encoding",
        "Range",
        "ETag",
        "Date",
        "Server",
        "Location",
        "X-Hop",
      ],
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      ...[
        "Keep-Alive",
        "TE",
        "Trailer",
        "Proxy-Connection",
        "proxy-authorization",
        "Authorization",
      ],
      ...["Impersonate-User", "impersonate-extra-x", "X-Forwarded-For", "x-forwarded-host"],
      ...["X-Forwarded-Proto", "Forwarded", "Proxy-Authenticate"],
    ),
  },
);

const space = textOf(" \t", 3);
/** No space at its ends: that would belong to the space around it. */
const fieldValue = textOf(`${visible}${other} \t`, 40).map((value) =>
  value.replace(/^[ \t]+|[ \t]+$/g, "")
);
const plainField: fc.Arbitrary<FieldPlan> = fc.tuple(fieldName, space, fieldValue, space);
const connectionField: fc.Arbitrary<FieldPlan> = fc.constantFrom(
  ...["keep-alive", "X-Hop", "x-hop, Keep-Alive", "X-Twice,x-hop", "close", ", ,"],
).map((value) => ["Connection", " ", value, ""]);
const fields = fc.array(
  fc.oneof({ weight: 12, arbitrary: plainField }, { weight: 1, arbitrary: connectionField }),
  { maxLength: 8 },
);

const bytes = fc.oneof(
  { weight: 30, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 60 }) },
  // More than a frame and more than the first window.
  { weight: 1, arbitrary: fc.nat(255).map((byte) => new Uint8Array(100_000).fill(byte)) },
);
const extension = fc.constantFrom("", "", ";a", ";a=b", ';a="b;c"', ";\xff");
const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 3 });

function body(...framings: BodyPlan["framing"][]): fc.Arbitrary<BodyPlan> {
  return fc.record({
    framing: fc.constantFrom(...framings),
    pieces: fc.array(bytes, { maxLength: 4 }),
    extension,
  });
}

const request: fc.Arbitrary<RequestPlan> = fc.record({
  method: fc.oneof(
    fc.constantFrom("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"),
    textOf(tokenCharacters, 10, 1).filter((method) => method !== "CONNECT"),
  ),
  // A fragment is refused: request_forms_test.ts.
  path: textOf(`${visible.replace("#", "")}${other}///..%%??&`, 40).map((rest) => `/${rest}`),
  fields,
  body: body("none", "length", "chunked"),
  cuts,
});

const answer: fc.Arbitrary<AnswerPlan> = fc.record({
  interim: fc.array(
    fc.tuple(fc.constantFrom(100, 102, 103), fc.array(plainField, { maxLength: 3 })),
    { maxLength: 2 },
  ),
  status: fc.oneof(
    fc.constantFrom(200, 201, 204, 206, 301, 304, 401, 404, 409, 422, 429, 500, 503),
    fc.integer({ min: 200, max: 599 }),
  ),
  reason: textOf(`${visible}${other} `, 20),
  fields,
  body: body("length", "chunked", "close"),
  cuts,
});

const exchanges: fc.Arbitrary<ExchangePlan[]> = fc.array(fc.record({ request, answer }), {
  minLength: 1,
  maxLength: CONCURRENCY,
  size: "max",
});

function fieldLines(plans: readonly FieldPlan[]): string {
  return plans.map(([name, before, value, after]) => `${name}:${before}${value}${after}\r\n`).join(
    "",
  );
}

function framingLine({ framing, pieces }: BodyPlan): string {
  if (framing === "chunked") return "Transfer-Encoding: chunked\r\n";
  if (framing !== "length") return "";
  return `Content-Length: ${pieces.reduce((sum, { length }) => sum + length, 0)}\r\n`;
}

function bodyBytes({ framing, pieces, extension }: BodyPlan): Uint8Array {
  if (framing === "none") return new Uint8Array(0);
  if (framing !== "chunked") return concatBytes(pieces);
  const chunks = pieces.flatMap((piece) => [
    latin1(`${piece.length.toString(16)}${extension}\r\n`),
    piece,
    latin1("\r\n"),
  ]);
  return concatBytes([...chunks, latin1(`0${extension}\r\n\r\n`)]);
}

function requestBytes({ method, path, fields, body }: RequestPlan, id: string): Uint8Array {
  const head = `${method} ${path} HTTP/1.1\r\nHost: caller.example\r\n${fieldLines(fields)}` +
    `${framingLine(body)}X-Plan: ${id}\r\n\r\n`;
  return concatBytes([latin1(head), bodyBytes(body)]);
}

function hasNoBody(method: string, status: number): boolean {
  return method === "HEAD" || status === 204 || status === 304;
}

function answerBytes({ interim, status, reason, fields, body }: AnswerPlan, method: string) {
  const heads = interim.map(([code, lines]) =>
    `HTTP/1.1 ${code} Interim\r\n${fieldLines(lines)}\r\n`
  );
  // A 204 says nothing about a body; to HEAD and in a 304 the length may be said all the same.
  const framing = status === 204 ? "" : framingLine(body);
  const head = `HTTP/1.1 ${status} ${reason}\r\n${fieldLines(fields)}${framing}\r\n`;
  const content = hasNoBody(method, status) ? new Uint8Array(0) : bodyBytes(body);
  return concatBytes([latin1(heads.join("") + head), content]);
}

async function writeCut(
  connection: RawConnection,
  bytes: Uint8Array,
  cuts: readonly number[],
): Promise<void> {
  const offsets = cuts.map((cut) => Math.floor(cut * bytes.length)).sort((a, b) => a - b);
  let from = 0;
  for (const to of [...offsets, bytes.length]) {
    await connection.write(bytes.subarray(from, to));
    from = to;
  }
}

/** The target of both ways: it answers each request as its plan says and keeps what it saw. */
class PlanTarget {
  readonly #plans = new Map<string, ExchangePlan>();
  readonly #seen = new Map<string, WireMessage>();

  plan(id: string, plan: ExchangePlan): void {
    this.#plans.set(id, plan);
  }

  /** What was seen of a planned request; its plan is forgotten. */
  takeSeen(id: string): WireMessage {
    const seen = this.#seen.get(id);
    if (!seen) throw new Error(`The target has not seen request ${id}`);
    this.#seen.delete(id);
    this.#plans.delete(id);
    return seen;
  }

  async serve(head: WireHead, connection: RawConnection, request: () => Promise<WireMessage>) {
    const id = valuesOf(head, "x-plan")[0] ?? "";
    const plan = this.#plans.get(id);
    if (!plan) throw new Error(`No plan for ${JSON.stringify(head)}`);
    this.#seen.set(id, await request());
    const { method } = plan.request;
    await writeCut(connection, answerBytes(plan.answer, method), plan.answer.cuts);
    const { body, status } = plan.answer;
    const endsConnection = (body.framing === "close" && !hasNoBody(method, status)) ||
      asksToClose(plan.answer.fields);
    if (endsConnection) connection.end();
  }
}

function asksToClose(fields: readonly FieldPlan[]): boolean {
  return fields.some(([name, , value]) => name === "Connection" && value === "close");
}

/** What a caller saw of an answer. */
interface SeenAnswer {
  readonly interim: readonly WireHead[];
  readonly final: WireMessage;
}

/** One way to the target, with a kept connection for each exchange that goes on at once. */
class Way implements AsyncDisposable {
  readonly #open: () => Promise<RawConnection>;
  readonly #connections = new Map<number, RawConnection>();

  constructor(open: () => Promise<RawConnection>) {
    this.#open = open;
  }

  /** Sends a request on the connection of this number and reads the answer. */
  async exchange(slot: number, bytes: Uint8Array, plan: RequestPlan): Promise<SeenAnswer> {
    const connection = this.#connections.get(slot) ?? await this.#open();
    this.#connections.set(slot, connection);
    const interim: WireHead[] = [];
    const answer = readWireResponse(connection.reader, plan.method, (head) => interim.push(head));
    const [final] = await within(
      Promise.all([answer, writeCut(connection, bytes, plan.cuts)]),
      () => `an answer; received ${JSON.stringify(connection.receivedText.slice(-2_000))}`,
    );
    const isLast = final.framing === "close" || asksToClose(plan.fields) ||
      valuesOf(final, "connection").includes("close");
    if (isLast) await this.#drop(slot, connection);
    return { interim, final };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const [slot, connection] of [...this.#connections]) await this.#drop(slot, connection);
  }

  async #drop(slot: number, connection: RawConnection): Promise<void> {
    this.#connections.delete(slot);
    await connection[Symbol.asyncDispose]();
  }
}

/** RFC 9110 section 7.6.1, and what it says to treat alike: the fields of one hop. */
const ofOneHop = new Set([
  ...["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"],
  ...["upgrade", "proxy-authenticate", "proxy-authorization"],
]);

/** What the relay and the agent set themselves. */
const setOnTheWay = new Set([
  ...["host", "authorization", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"],
  ...["x-forwarded-prefix", "x-request-id"],
]);

/** The fields that must come through: in order, in their spelling, each as often as it was sent. */
function passed(head: WireHead, isDropped: (name: string) => boolean): WireField[] {
  const named = valuesOf(head, "connection").flatMap((value) =>
    value.split(",").map((name) => name.trim().toLowerCase())
  );
  return head.fields.filter(([name]) => {
    const key = name.toLowerCase();
    return !ofOneHop.has(key) && !named.includes(key) && !isDropped(key);
  });
}

function isCallersOwn(key: string): boolean {
  return setOnTheWay.has(key) || key === "forwarded" || key === "x-plan" ||
    key.startsWith("impersonate-");
}

function assertSameRequest(direct: WireMessage, through: WireMessage, tunnel: Tunnel): void {
  equal(methodOf(through), methodOf(direct));
  equal(targetOf(through), targetOf(direct));
  const kept = passed(direct, isCallersOwn);
  // The relay's own is the last one, behind the caller's.
  match(valuesOf(through, "via").at(-1) ?? "", /^1\.1 culvert-[0-9a-f]{8}$/);
  const ownVia = through.fields.findLastIndex(([name]) => name === "Via");
  const sent = { ...through, fields: through.fields.toSpliced(ownVia, 1) };
  // Nothing of the tunnel's own may be named in a Connection field, so that this drops no more.
  deepEqual(passed(sent, isCallersOwn), kept);
  deepEqual(valuesOf(through, "host"), [tunnel.target.address]);
  deepEqual(valuesOf(through, "authorization"), [`Bearer ${CREDENTIAL}`]);
  deepEqual(valuesOf(through, "x-forwarded-for"), ["127.0.0.1"]);
  deepEqual(valuesOf(through, "x-forwarded-proto"), ["http"]);
  deepEqual(valuesOf(through, "x-forwarded-host"), ["caller.example"]);
  deepEqual(valuesOf(through, "x-forwarded-prefix"), [`/tunnel/${CLUSTER}`]);
  equal(valuesOf(through, "x-request-id").length, 1);
  deepEqual(valuesOf(through, "connection"), []);
  const framing = direct.framing === "chunked" ? ["chunked"] : [];
  deepEqual(valuesOf(through, "transfer-encoding"), framing);
  const added = new Set([...setOnTheWay, "transfer-encoding", "x-plan"]);
  const all = sent.fields.filter(([name]) => !added.has(name.toLowerCase()));
  deepEqual(all, kept, "nothing else may have been added");
  equal(through.framing, direct.framing);
  deepEqual(through.body, direct.body);
}

function assertSameHead(direct: WireHead, through: WireHead): void {
  equal(through.startLine, direct.startLine);
  const added = new Set(["transfer-encoding", "connection", "x-request-id"]);
  // The relay dates answers that are not (RFC 9110 section 6.6.1).
  if (valuesOf(direct, "date").length === 0) added.add("date");
  const all = through.fields.filter(([name]) => !added.has(name.toLowerCase()));
  deepEqual(all, passed(direct, () => false));
}

function assertSameAnswer(direct: SeenAnswer, through: SeenAnswer): void {
  equal(through.interim.length, direct.interim.length);
  for (const [index, head] of direct.interim.entries()) {
    assertSameHead(head, through.interim[index]!);
  }
  assertSameHead(direct.final, through.final);
  // A body that ended with its connection comes in chunks: the caller's connection stays.
  const framing = direct.final.framing === "close" ? "chunked" : direct.final.framing;
  equal(through.final.framing, framing);
  deepEqual(through.final.body, direct.final.body);
}

/** Both ways to one target, and the comparison of what they make of a plan. */
class Comparison implements AsyncDisposable {
  readonly #tunnel: Tunnel;
  readonly #target = new PlanTarget();
  #direct: Way;
  #through: Way;
  #count = 0;

  constructor(tunnel: Tunnel) {
    this.#tunnel = tunnel;
    tunnel.scripts.otherwise = ({ head, connection, request }) =>
      this.#target.serve(head, connection, request);
    this.#direct = new Way(() => openConnection(tunnel.target.address));
    this.#through = new Way(() => tunnel.caller());
  }

  /** Exchanges that were played so far. */
  get count(): number {
    return this.#count;
  }

  /** Plays all plans at once, both ways, and compares. */
  async compare(plans: readonly ExchangePlan[]): Promise<void> {
    const played = await Promise.allSettled(plans.map((plan, slot) => this.#play(plan, slot)));
    const failed = played.find(({ status }) => status === "rejected");
    if (failed?.status !== "rejected") return;
    // Connections may have answers left over: what is tried next must begin afresh.
    await this[Symbol.asyncDispose]();
    throw failed.reason;
  }

  async #play(plan: ExchangePlan, slot: number): Promise<void> {
    const id = String(++this.#count);
    const tunnelledPlan = { ...plan.request, path: tunnelled(plan.request.path) };
    const [direct, through] = [`${id}d`, `${id}t`];
    this.#target.plan(direct, plan);
    this.#target.plan(through, plan);
    const [directAnswer, throughAnswer] = await Promise.all([
      this.#direct.exchange(slot, requestBytes(plan.request, direct), plan.request),
      this.#through.exchange(slot, requestBytes(tunnelledPlan, through), plan.request),
    ]);
    equal(
      statusOf(directAnswer.final),
      plan.answer.status,
      "the direct way is what is compared with",
    );
    assertSameRequest(
      this.#target.takeSeen(direct),
      this.#target.takeSeen(through),
      this.#tunnel,
    );
    assertSameAnswer(directAnswer, throughAnswer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#direct[Symbol.asyncDispose]();
    await this.#through[Symbol.asyncDispose]();
  }
}

Deno.test("what both ends see through the tunnel is what they see without it", async () => {
  await withTunnel(async (tunnel) => {
    await using comparison = new Comparison(tunnel);
    const startMs = performance.now();
    const property = fc.asyncProperty(exchanges, async (plans) => {
      const isOver = comparison.count >= LEAST_EXCHANGES &&
        performance.now() - startMs >= BUDGET_MS;
      if (!isOver) await comparison.compare(plans);
    });
    const seed = Deno.env.get("FC_SEED");
    await fc.assert(property, {
      numRuns: RUNS,
      ...(seed === undefined ? {} : { seed: Number(seed) }),
    });
    console.log(`${comparison.count} exchanges compared`);
    ok(comparison.count >= LEAST_EXCHANGES, `${comparison.count} exchanges`);
    const log = await tunnel.relay.completeLog();
    deepEqual(log.filter(({ level }) => level === "error"), []);
  }, { entry: { impersonation: "strip" } });
});
