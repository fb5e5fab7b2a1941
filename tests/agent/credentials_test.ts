import assert from "node:assert/strict";
import { Credentials, type FileVersion, type TokenFile } from "../../lib/agent/credentials.ts";
import { StreamError } from "../../lib/protocol/errors.ts";
import { tokenFile } from "../../lib/runtime/node/token_file.ts";

/** A token file that counts how often it is read. */
class FakeFile {
  text: string | undefined;
  readCount = 0;
  #modifiedMs = 0;
  #inode = 1;

  constructor(text?: string) {
    this.text = text;
  }

  /** Replaces the content, as kubelet does with a rename: another inode and time. */
  rotate(text: string | undefined): void {
    this.text = text;
    this.#modifiedMs++;
    this.#inode++;
  }

  version(): FileVersion {
    if (this.text === undefined) throw new Error("No such file");
    const modifiedMs = this.#modifiedMs;
    const size = this.text.length;
    return { modifiedMs, changedMs: modifiedMs, size, inode: this.#inode, isSettled: true };
  }

  read(): string {
    this.readCount++;
    if (this.text === undefined) throw new Error("No such file");
    return this.text;
  }
}

/** What `--sa-token-path` stands for. */
function bearer(file: TokenFile, loaded?: (token: string) => void): Credentials {
  const options = { file, header: "Authorization", scheme: "Bearer", origin: "sa-token-path" };
  return new Credentials(options, loaded);
}

/** `code message` of the StreamError that asking for the credential throws. */
function refusalOf(credentials: Credentials): string {
  try {
    return `accepted: ${credentials.value()}`;
  } catch (error) {
    assert.ok(error instanceof StreamError, String(error));
    return `${error.code} ${error.message}`;
  }
}

function unreadable(reason: string): string {
  return `credentials The token can't be read: ${reason}; --sa-token-path must name its file`;
}

Deno.test("Credentials gives the token as a bearer credential", () => {
  assert.equal(
    bearer(new FakeFile("abc.def-_~+/=")).value(),
    "Bearer abc.def-_~+/=",
  );
});

Deno.test("Credentials reads a file once while it does not change", () => {
  const file = new FakeFile("one");
  const credentials = bearer(file);
  for (let request = 0; request < 3; request++) credentials.value();
  assert.equal(file.readCount, 1);
});

Deno.test("Credentials uses a rotated token for the very next request", () => {
  const file = new FakeFile("one");
  const credentials = bearer(file);
  credentials.value();
  file.rotate("two");
  assert.equal(credentials.value(), "Bearer two");
});

Deno.test("Credentials sees each kind of change to a file", () => {
  const first = { modifiedMs: 1, changedMs: 1, size: 3, inode: 1, isSettled: true };
  const versions: FileVersion[] = [
    first,
    { ...first, modifiedMs: 2 },
    { ...first, modifiedMs: 2, size: 4 },
    { ...first, modifiedMs: 2, size: 4, inode: 2 },
    { ...first, modifiedMs: 2, size: 4, inode: 2, changedMs: 2 },
  ];
  let current = versions[0]!;
  let readCount = 0;
  const credentials = bearer({
    version: () => current,
    read: () => `token-${++readCount}`,
  });
  const seen = versions.map((version) => {
    current = version;
    return credentials.value();
  });
  assert.deepEqual(seen, [1, 2, 3, 4, 5].map((count) => `Bearer token-${count}`));
});

Deno.test("Credentials ignores white space around the token, as files end with a line break", () => {
  assert.equal(bearer(new FakeFile(" \ttoken\r\n")).value(), "Bearer token");
});

Deno.test("Credentials refuses a request without its token, and says why", () => {
  const cases: [string | undefined, string][] = [
    [undefined, "No such file"],
    ["", "the file is empty"],
    [" \n", "the file is empty"],
    ["token\r\nImpersonate-User: admin", "the file holds no token"],
    ["two\nlines", "the file holds no token"],
    ["two words", "the file holds no token"],
    ["nul\0", "the file holds no token"],
    ["t\u00f6ken", "the file holds no token"],
    ["\u2028", "the file is empty"],
  ];
  for (const [text, reason] of cases) {
    const refusal = refusalOf(bearer(new FakeFile(text)));
    assert.equal(refusal, unreadable(reason), JSON.stringify(text));
  }
});

Deno.test("Credentials does not fall back to the token that it had", () => {
  const file = new FakeFile("one");
  const credentials = bearer(file);
  credentials.value();
  file.rotate(undefined);
  assert.equal(refusalOf(credentials), unreadable("No such file"));
  file.rotate("");
  assert.equal(refusalOf(credentials), unreadable("the file is empty"));
  file.rotate("two");
  assert.equal(credentials.value(), "Bearer two");
});

Deno.test("Credentials names no token in what it says", () => {
  const refusal = refusalOf(bearer(new FakeFile("secret token")));
  assert.equal(refusal.includes("secret"), false);
});

Deno.test("tokenFile follows a file that is replaced, removed and there again", async () => {
  const directory = Deno.makeTempDirSync();
  try {
    const path = `${directory}/token`;
    const credentials = bearer(tokenFile(path));
    assert.match(refusalOf(credentials), /^credentials The token can't be read: ENOENT/);
    for (const token of ["first-token", "other-token"]) {
      replaceFile(path, token);
      assert.equal(credentials.value(), `Bearer ${token}`);
      await Promise.resolve();
    }
    Deno.removeSync(path);
    assert.match(refusalOf(credentials), /^credentials The token can't be read: ENOENT/);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

Deno.test("a token file that is UTF-16, in quotes or behind Bearer says so, and is not sent", () => {
  const directory = Deno.makeTempDirSync();
  try {
    const path = `${directory}/token`;
    const credentials = () => bearer(tokenFile(path));
    const cases: [Uint8Array | string, string][] = [
      [new Uint8Array([0xff, 0xfe, 0x61, 0, 0x62, 0]), "the file is UTF-16; save it as UTF-8"],
      ['"token"\n', "the file's token is in double quotes; leave them out"],
      ["Bearer token\r\n", 'the file\'s token begins with "Bearer"; give the token alone'],
      ["to\rken", "the file's token holds a carriage return (CR); leave it out"],
    ];
    for (const [content, reason] of cases) {
      const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
      Deno.writeFileSync(path, bytes);
      assert.equal(refusalOf(credentials()), unreadable(reason));
    }
    Deno.writeTextFileSync(path, "\ufefftoken\r\n");
    assert.equal(credentials().value(), "Bearer token");
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

Deno.test("tokenFile looks at its file once for all requests that come together", async () => {
  const directory = Deno.makeTempDirSync();
  try {
    const path = `${directory}/token`;
    const credentials = bearer(tokenFile(path));
    replaceFile(path, "first-token");
    credentials.value();
    replaceFile(path, "other-token");
    assert.equal(credentials.value(), "Bearer first-token");
    await Promise.resolve();
    assert.equal(credentials.value(), "Bearer other-token");
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

function replaceFile(path: string, text: string): void {
  Deno.writeTextFileSync(`${path}.new`, text);
  Deno.renameSync(`${path}.new`, path);
}

Deno.test("Credentials sees a token that was written over the old one with equal size and time", async () => {
  const path = await Deno.makeTempFile();
  try {
    const credentials = bearer(tokenFile(path));
    const time = new Date("2026-01-01T00:00:00Z");
    for (const token of ["token-one", "token-two", "token-six", "token-ten"]) {
      await Deno.writeTextFile(path, token);
      await Deno.utime(path, time, time);
      assert.equal(credentials.value(), `Bearer ${token}`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("Credentials puts the token behind any scheme, or alone", () => {
  const file = new FakeFile("abc");
  const valueOf = (scheme: string) =>
    new Credentials({ file, header: "X-Api-Key", scheme, origin: "targets" }).value();
  assert.deepEqual([valueOf("Token"), valueOf("")], ["Token abc", "abc"]);
});
