import { deepEqual, equal, match } from "node:assert/strict";
import type { FileText } from "../../lib/config/files.ts";
import { FileListing } from "../../lib/runtime/node/file_listing.ts";
import { unreadableMs, WatchedFiles } from "../../lib/runtime/node/watched_files.ts";
import { eventually } from "../support/deadline.ts";

const intervalMs = 20;

/** A directory of its own, and what a watcher reported about it. */
class Watch implements AsyncDisposable {
  readonly directory: string;
  readonly reports: (readonly FileText[])[] = [];
  readonly failures: string[] = [];
  #watched: WatchedFiles | undefined;

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async create(): Promise<Watch> {
    return new Watch(await Deno.makeTempDir({ prefix: "culvert-watch-" }));
  }

  path(name: string): string {
    return `${this.directory}/${name}`;
  }

  async write(name: string, text: string): Promise<void> {
    await Deno.writeTextFile(this.path(name), text);
  }

  /** As editors do, and careful programs. */
  async replace(name: string, text: string): Promise<void> {
    await this.write(`.${name}.new`, text);
    await Deno.rename(this.path(`.${name}.new`), this.path(name));
  }

  begin(
    names: readonly string[],
    options: Partial<ConstructorParameters<typeof WatchedFiles>[0]> = {},
  ): void {
    this.#watched = new WatchedFiles({
      paths: names.map((name) => this.path(name)),
      intervalMs,
      accepts: (name) => !name.startsWith("."),
      changed: (files) => void this.reports.push(files),
      failed: ({ message }) => void this.failures.push(message),
      ...options,
    });
  }

  /** The texts of the last report. */
  get texts(): string[] | undefined {
    return this.reports.at(-1)?.map(({ text }) => text);
  }

  async untilReported(...texts: string[]): Promise<void> {
    await eventually(
      () => JSON.stringify(this.texts) === JSON.stringify(texts),
      () => `${JSON.stringify(texts)}, not ${JSON.stringify(this.texts)}; ${this.failures}`,
    );
  }

  /** Waits for several looks: whatever was to be reported has been. */
  async looks(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 10 * intervalMs));
  }

  async close(): Promise<void> {
    await this.#watched?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
    await Deno.remove(this.directory, { recursive: true });
  }
}

Deno.test("WatchedFiles reports what is there, then each change, however it is written", async () => {
  await using watch = await Watch.create();
  await watch.write("a", "one");
  watch.begin(["a"]);
  await watch.untilReported("one");
  await watch.write("a", "two");
  await watch.untilReported("two");
  await watch.replace("a", "3");
  await watch.untilReported("3");
  equal(watch.reports.length, 3);
  deepEqual(watch.failures, []);
});

Deno.test("WatchedFiles reports nothing that the program knows already, and nothing when only times change", async () => {
  await using watch = await Watch.create();
  await watch.write("a", "one");
  watch.begin(["a"], { known: [{ path: watch.path("a"), text: "one" }] });
  await watch.looks();
  await watch.replace("a", "one");
  await Deno.utime(watch.path("a"), 1, 1);
  await watch.looks();
  deepEqual(watch.reports, []);
  await watch.write("a", "two");
  await watch.untilReported("two");
});

Deno.test("WatchedFiles finds what changed between the program's reading and the first look", async () => {
  await using watch = await Watch.create();
  await watch.write("a", "new");
  watch.begin(["a"], { known: [{ path: watch.path("a"), text: "old" }] });
  await watch.untilReported("new");
});

Deno.test("WatchedFiles reports several files together, in order", async () => {
  await using watch = await Watch.create();
  await watch.write("tls.crt", "cert 1");
  await watch.write("tls.key", "key 1");
  watch.begin(["tls.key", "tls.crt"]);
  await watch.untilReported("key 1", "cert 1");
  await watch.write("tls.crt", "cert 2");
  await watch.untilReported("key 1", "cert 2");
});

Deno.test("WatchedFiles follows a directory as Kubernetes mounts it: a link is swapped", async () => {
  await using watch = await Watch.create();
  const mount = async (version: string, files: Record<string, string>): Promise<void> => {
    await Deno.mkdir(watch.path(version));
    for (const [name, text] of Object.entries(files)) {
      await watch.write(`${version}/${name}`, text);
      await Deno.symlink(`..data/${name}`, watch.path(name)).catch(() => {});
    }
    await Deno.symlink(version, watch.path("..data_tmp"));
    await Deno.rename(watch.path("..data_tmp"), watch.path("..data"));
  };
  await mount("..2026_1", { "a.json": "a1", "b.json": "b1" });
  watch.begin([""], { accepts: (name) => /^[^.].*\.json$/.test(name) });
  await watch.untilReported("a1", "b1");
  await mount("..2026_2", { "a.json": "a2", "b.json": "b2", "c.txt": "c" });
  await Deno.remove(watch.path("..2026_1"), { recursive: true });
  await watch.untilReported("a2", "b2");
  equal(watch.reports.length, 2, "never one file of the old and one of the new");
  await Deno.remove(watch.path("a.json"));
  await watch.untilReported("b2");
  deepEqual(watch.failures, []);
});

Deno.test("WatchedFiles leaves a file alone while it is being written", async () => {
  await using watch = await Watch.create();
  await watch.write("a", "old");
  watch.begin(["a"], { intervalMs: 200 });
  await watch.untilReported("old");
  const file = await Deno.open(watch.path("a"), { write: true, truncate: true });
  for (let index = 0; index < 50; index++) {
    await file.write(new TextEncoder().encode("piece "));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  file.close();
  await watch.untilReported("piece ".repeat(50));
  equal(watch.reports.length, 2);
});

Deno.test("WatchedFiles leaves out a byte order mark, and reports UTF-16 as what it is", async () => {
  await using watch = await Watch.create();
  await watch.write("a", "\ufeffone");
  watch.begin(["a"], { known: [{ path: watch.path("a"), text: "one" }] });
  await watch.looks();
  deepEqual(watch.reports, [], "the mark is no part of the text");
  await Deno.writeFile(watch.path("a"), new Uint8Array([0xff, 0xfe, 0x5b, 0, 0x5d, 0]));
  await eventually(() => watch.failures.length > 0, "the failure");
  match(watch.failures[0]!, /^".*\/a" is UTF-16; save it as UTF-8$/);
  await watch.looks();
  equal(watch.failures.length, 1, "it is told once");
  deepEqual(watch.reports, [], "what was in use stays");
  await watch.write("a", "\ufefftwo");
  await watch.untilReported("two");
});

Deno.test("WatchedFiles overlooks a moment without the file, and reports once when it is gone", async () => {
  await using watch = await Watch.create();
  await watch.write("a", "one");
  watch.begin(["a"]);
  await watch.untilReported("one");
  await Deno.remove(watch.path("a"));
  await watch.looks();
  await watch.write("a", "one");
  await watch.looks();
  deepEqual(watch.failures, []);

  const startMs = performance.now();
  await Deno.remove(watch.path("a"));
  await eventually(() => watch.failures.length > 0, "the failure");
  equal(performance.now() - startMs >= unreadableMs, true);
  match(watch.failures[0]!, /^".*\/a" cannot be read: there is no such file$/);
  await watch.looks();
  equal(watch.failures.length, 1);

  await watch.write("a", "one");
  await eventually(() => watch.reports.length === 2, "the same content, reported again");
  deepEqual(watch.texts, ["one"]);
});

Deno.test("WatchedFiles passes on what its receiver throws, and goes on", async () => {
  await using watch = await Watch.create();
  await watch.write("a", "bad");
  watch.begin(["a"], {
    changed: (files) => {
      if (files[0]!.text === "bad") return Promise.reject(new Error("Refused"));
      watch.reports.push(files);
    },
  });
  await eventually(() => watch.failures.length > 0, "the failure");
  await watch.looks();
  deepEqual(watch.failures, ["Refused"]);
  await watch.write("a", "good");
  await watch.untilReported("good");
});

Deno.test("WatchedFiles refuses what is no regular file, without opening it", async () => {
  await using watch = await Watch.create();
  const made = await new Deno.Command("mkfifo", { args: [watch.path("pipe")] }).output();
  equal(made.code, 0);
  watch.begin(["pipe"]);
  await eventually(() => watch.failures.length > 0, "the failure");
  match(watch.failures[0]!, /^".*\/pipe" is not a regular file$/);
});

Deno.test("WatchedFiles takes no directory for a file, though there are files in it", async () => {
  await using watch = await Watch.create();
  await watch.write("a", "one");
  watch.begin(["a"], { accepts: undefined });
  await watch.untilReported("one");
  await Deno.remove(watch.path("a"));
  await Deno.mkdir(watch.path("a"));
  await watch.write("a/b", "two");
  await eventually(() => watch.failures.length > 0, "the failure");
  match(watch.failures[0]!, /^".*\/a" is a directory$/);
  deepEqual(watch.texts, ["one"]);
});

Deno.test("WatchedFiles says nothing once it is closed", async () => {
  await using watch = await Watch.create();
  await watch.write("a", "one");
  watch.begin(["a"]);
  await watch.untilReported("one");
  await watch.close();
  await watch.write("a", "two");
  await watch.looks();
  deepEqual(watch.texts, ["one"]);
});

Deno.test("WatchedFiles sees what was written over a file with equal size and time", async () => {
  await using watch = await Watch.create();
  const time = new Date("2026-01-01T00:00:00Z");
  const write = async (text: string): Promise<void> => {
    await watch.write("a", text);
    await Deno.utime(watch.path("a"), time, time);
  };
  await write("one");
  watch.begin(["a"]);
  for (const text of ["one", "two", "six", "ten"]) {
    await write(text);
    await watch.untilReported(text);
  }
});

Deno.test("WatchedFiles finds each kind of change in a folder of many files", async () => {
  await using watch = await Watch.create();
  const names = Array.from({ length: 500 }, (_, n) => `f${n}`.padEnd(4, "_"));
  await Promise.all(names.map((name) => watch.write(name, "old")));
  watch.begin(["."]);
  const untilChanged = async (of: number, change: () => Promise<void>): Promise<FileText[]> => {
    await watch.looks();
    const before = watch.reports.length;
    await change();
    await eventually(() => watch.reports.length > before, "the change to be reported");
    const files = [...watch.reports.at(-1)!];
    equal(files.length, of);
    return files.filter(({ text }) => text !== "old");
  };
  await eventually(() => watch.reports.length === 1, "the first report");
  // By then nothing is read again: what comes must be seen from outside.
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  for (const name of ["f0__", "f250", "f499"]) {
    const changed = await untilChanged(500, () => watch.write(name, "new"));
    deepEqual(changed.map(({ text }) => text), ["new"]);
    await watch.write(name, "old");
    await eventually(
      () => watch.reports.at(-1)!.every(({ text }) => text === "old"),
      "the old text",
    );
  }
  deepEqual((await untilChanged(501, () => watch.write("g", "more"))).map(({ text }) => text), [
    "more",
  ]);
  await untilChanged(500, () => Deno.remove(watch.path("g")));
  await untilChanged(500, () => watch.replace("f123", "new"));
  deepEqual(watch.failures, []);
});

Deno.test("FileListing.glance looks at a part of a large folder, at another one each time", async () => {
  await using watch = await Watch.create();
  const names = Array.from({ length: 900 }, (_, n) => String(n).padStart(3, "0"));
  await Promise.all(names.map((name) => watch.write(name, "")));
  const listing = await FileListing.make({ paths: [watch.directory], accepts: () => true });
  await watch.write("450", "changed");
  const isSame: boolean[] = [];
  for (let glance = 0; glance < 3; glance++) isSame.push(await listing.glance());
  // The second one has its turn with the file, and the next one begins there.
  deepEqual(isSame, [true, false, false]);
});
