import assert from "node:assert/strict";
import { AuditFile, type AuditFileLimits } from "../../lib/runtime/node/audit_file.ts";
import { eventually } from "../support/deadline.ts";

/** An audit file in a folder of its own, and what it told. */
class Setup implements AsyncDisposable {
  readonly folder: string;
  readonly path: string;
  readonly events: string[] = [];
  readonly file: AuditFile;

  private constructor(folder: string, path: string, limits: Partial<AuditFileLimits>) {
    this.folder = folder;
    this.path = path;
    this.file = new AuditFile(path, {
      failed: ({ message }) => this.events.push(`failed: ${message}`),
      recovered: () => this.events.push("recovered"),
    }, limits);
  }

  static async create(
    pathIn = (folder: string): string | Promise<string> => `${folder}/audit.log`,
    limits: Partial<AuditFileLimits> = {},
  ): Promise<Setup> {
    const folder = await Deno.makeTempDir({ prefix: "culvert-audit-" });
    return new Setup(folder, await pathIn(folder), limits);
  }

  append(n: number): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.file.append({ n }, resolve);
    return promise;
  }

  async lines(path = this.path): Promise<string[]> {
    return (await Deno.readTextFile(path)).split("\n").filter((line) => line !== "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.file.close();
    await Deno.remove(this.folder, { recursive: true });
  }
}

async function makePipe(folder: string): Promise<string> {
  const path = `${folder}/pipe`;
  const { success } = await new Deno.Command("mkfifo", { args: [path] }).output();
  assert.ok(success);
  return path;
}

/** Has a pipe open for reading, without reading, until it is closed. */
function reader(path: string): Promise<Deno.FsFile> {
  // Opening for reading alone would wait for the writer.
  return Deno.open(path, { read: true, write: true });
}

Deno.test("AuditFile appends a line for each record, in order, behind what is there", async () => {
  await using setup = await Setup.create(async (folder) => {
    await Deno.writeTextFile(`${folder}/audit.log`, '{"n":0}\n');
    return `${folder}/audit.log`;
  });
  const written = await Promise.all(Array.from({ length: 50 }, (_, n) => setup.append(n + 1)));
  assert.ok(written.every((isWritten) => isWritten));
  assert.deepEqual(await setup.lines(), Array.from({ length: 51 }, (_, n) => `{"n":${n}}`));
  assert.deepEqual(setup.events, []);
});

Deno.test("AuditFile makes a file that others can't read, and says what it can't open", async () => {
  await using setup = await Setup.create();
  const { mode } = await Deno.stat(setup.path);
  assert.equal((mode! & 0o777) & ~0o640, 0);
  const open = (path: string) => () => new AuditFile(path, { failed() {}, recovered() {} });
  assert.throws(open(`${setup.folder}/absent/audit.log`), { code: "ENOENT" });
  assert.throws(open(setup.folder), { code: "EISDIR" });
  assert.throws(open(await makePipe(setup.folder)), { code: "ENXIO" });
});

Deno.test("AuditFile: a full disk fails each record, is told once, and is tried again", async () => {
  await using setup = await Setup.create((folder) => `${folder}/audit.log`);
  await Deno.remove(setup.path);
  await Deno.symlink("/dev/full", setup.path);
  setup.file.reopen();
  assert.deepEqual([await setup.append(1), await setup.append(2)], [false, false]);
  assert.deepEqual(setup.events.length, 1);
  assert.match(setup.events[0]!, /^failed: .*[Nn]o space left/);
  await Deno.remove(setup.path);
  setup.file.reopen();
  assert.equal(await setup.append(3), true);
  assert.deepEqual(setup.events.slice(1), ["recovered"]);
  assert.deepEqual(await setup.lines(), ['{"n":3}']);
});

Deno.test("AuditFile goes on in a new file when the old one was renamed", async () => {
  await using setup = await Setup.create();
  await setup.append(1);
  await Deno.rename(setup.path, `${setup.path}.1`);
  let n = 1;
  await eventually(async () => {
    assert.equal(await setup.append(++n), true);
    return await Deno.stat(setup.path).then(() => true, () => false);
  }, "the new file");
  const all = [...await setup.lines(`${setup.path}.1`), ...await setup.lines()];
  assert.deepEqual(all, Array.from({ length: n }, (_, index) => `{"n":${index + 1}}`));
  assert.deepEqual(await setup.lines(), [`{"n":${n}}`]);
});

Deno.test("AuditFile.reopen takes the file of that name at once", async () => {
  await using setup = await Setup.create();
  await setup.append(1);
  await Deno.rename(setup.path, `${setup.path}.1`);
  setup.file.reopen();
  await setup.append(2);
  assert.deepEqual([await setup.lines(`${setup.path}.1`), await setup.lines()], [
    ['{"n":1}'],
    ['{"n":2}'],
  ]);
});

Deno.test("AuditFile: a pipe whose reader has left fails", async () => {
  let end: Deno.FsFile | undefined;
  await using setup = await Setup.create(async (folder) => {
    const path = await makePipe(folder);
    end = await reader(path);
    return path;
  });
  assert.equal(await setup.append(1), true);
  end!.close();
  assert.equal(await setup.append(2), false);
  assert.match(setup.events[0]!, /[Bb]roken pipe/);
});

Deno.test("AuditFile: a pipe that nobody reads holds nobody up for long, and then goes on", async () => {
  let end: Deno.FsFile | undefined;
  await using setup = await Setup.create(async (folder) => {
    const path = await makePipe(folder);
    end = await reader(path);
    return path;
  }, { writeTimeoutMs: 200, maxQueuedBytes: 300_000 });
  using pipe = end!;
  const big = Promise.withResolvers<boolean>();
  setup.file.append({ text: "x".repeat(200_000) }, big.resolve);
  assert.equal(await big.promise, false);
  assert.deepEqual(setup.events, ["failed: Not written within 200 ms"]);
  const bytes = new Uint8Array(65_536);
  let received = 0;
  let text = "";
  await eventually(async () => {
    // What the pipe had taken is read, so that there is room.
    if (received < 65_536) {
      const count = (await pipe.read(bytes))!;
      received += count;
    }
    return await setup.append(7);
  }, "room in the pipe");
  assert.deepEqual(setup.events.slice(1), ["recovered"]);
  while (!text.includes('{"n":7}\n')) {
    text += new TextDecoder().decode(bytes.subarray(0, (await pipe.read(bytes))!));
  }
  assert.match(text, /^[^\n]*\n\{"n":7\}\n$/, "the line that was cut is alone");
});

Deno.test("AuditFile: lines of several processes stay whole in one pipe", async () => {
  let end: Deno.FsFile | undefined;
  await using setup = await Setup.create(async (folder) => {
    const path = await makePipe(folder);
    end = await reader(path);
    return path;
  });
  const other = new AuditFile(setup.path, { failed() {}, recovered() {} });
  using pipe = end!;
  const records = 400;
  for (const [who, file] of [["a", setup.file], ["b", other]] as const) {
    const text = who.repeat(150);
    for (let n = 0; n < records; n++) file.append({ who, n, text }, () => {});
  }
  const bytes = new Uint8Array(65_536);
  let text = "";
  while (text.split("\n").length <= 2 * records) {
    text += new TextDecoder().decode(bytes.subarray(0, (await pipe.read(bytes))!));
  }
  const found = text.trimEnd().split("\n").map((line) => JSON.parse(line));
  for (const name of ["a", "b"]) {
    const own = found.filter(({ who }) => who === name);
    assert.deepEqual(own.map(({ n }) => n), Array.from({ length: records }, (_, n) => n));
  }
  await other.close();
});

Deno.test("AuditFile takes no more than it may hold", async () => {
  await using setup = await Setup.create(undefined, { maxQueuedBytes: 20 });
  const results = await Promise.all([setup.append(1), setup.append(2), setup.append(3)]);
  assert.deepEqual(results, [true, true, false]);
  assert.equal(await setup.append(4), true);
});

Deno.test("AuditFile.close waits for what was appended", async () => {
  const setup = await Setup.create();
  try {
    const written = setup.append(1);
    await setup.file.close();
    assert.equal(await written, true);
    assert.deepEqual(await setup.lines(), ['{"n":1}']);
  } finally {
    await Deno.remove(setup.folder, { recursive: true });
  }
});
