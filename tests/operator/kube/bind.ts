/** A real bind9 with two zones that take signed updates. */
import { run } from "../../e2e/command.ts";
import { eventually } from "../../support/deadline.ts";
import { freePort } from "../../support/free_port.ts";
import type { TsigKey } from "../../../lib/operator/dns/tsig.ts";

const named = "/usr/sbin/named";
export const zone = "a.example.com";
/** A second one. */
export const otherZone = "b.example.com";
/** A part of the first one that other name servers are to have. */
export const delegatedZone = `sub.${zone}`;
const secret = "c2VjcmV0IGZvciB1cGRhdGVzIG9mIHRoZSB6b25lISE=";

const zones = [zone, otherZone];

function zoneStatement(folder: string, name: string): string {
  return `zone "${name}" { type primary; file "${folder}/${name}"; allow-update { key "culvert."; }; };`;
}

export const hasBind = (() => {
  try {
    Deno.statSync(named);
    return true;
  } catch {
    return false;
  }
})();

/** A name server on loopback. */
export class Bind implements AsyncDisposable {
  readonly port: number;
  readonly #folder: string;
  readonly #process: Deno.ChildProcess;

  private constructor(port: number, folder: string, process: Deno.ChildProcess) {
    this.port = port;
    this.#folder = folder;
    this.#process = process;
  }

  static async start(): Promise<Bind> {
    const folder = await Deno.makeTempDir({ prefix: "culvert-bind-" });
    const port = freePort();
    await Deno.writeTextFile(
      `${folder}/named.conf`,
      `options { directory "${folder}"; listen-on port ${port} { 127.0.0.1; }; listen-on-v6 { none; };
        pid-file "${folder}/named.pid"; session-keyfile "${folder}/session.key"; recursion no;
        managed-keys-directory "${folder}"; dnssec-validation no; };
      controls { };
      key "culvert." { algorithm hmac-sha256; secret "${secret}"; };
      ${zones.map((name) => zoneStatement(folder, name)).join("\n")}\n`,
    );
    const soa = (name: string) =>
      `$TTL 60\n@ IN SOA ns.${name}. root.${name}. 1 60 60 60 60\n@ IN NS ns.${name}.\nns IN A 127.0.0.1\n`;
    await Deno.writeTextFile(
      `${folder}/${zone}`,
      `${soa(zone)}taken IN A 192.0.2.1\nsub IN NS ns.sub\nns.sub IN A 127.0.0.1\n`,
    );
    await Deno.writeTextFile(`${folder}/${otherZone}`, soa(otherZone));
    const args = ["-g", "-c", `${folder}/named.conf`, "-n", "1"];
    const process = new Deno.Command(named, { args, stdout: "null", stderr: "null" }).spawn();
    const bind = new Bind(port, folder, process);
    await eventually(async () => (await bind.dig(`ns.${zone}`, "A")) !== "", "bind9 to answer");
    return bind;
  }

  get server(): string {
    return `127.0.0.1:${this.port}`;
  }

  get secret(): string {
    return secret;
  }

  get key(): TsigKey {
    const bytes = Uint8Array.from(atob(secret), (character) => character.charCodeAt(0));
    return { name: "culvert", algorithm: "hmac-sha256", secret: bytes };
  }

  /** What the server has for a name, as `dig +short` prints it. */
  async dig(name: string, type: string): Promise<string> {
    const args = [
      "@127.0.0.1",
      "-p",
      String(this.port),
      "+short",
      "+time=2",
      "+tries=1",
      name,
      type,
    ];
    const { code, stdout } = await run("dig", args);
    return code === 0 ? stdout.trim() : "";
  }

  /** Changes records as somebody with the key does by hand: lines of nsupdate. */
  async update(lines: readonly string[]): Promise<void> {
    const commands = [`server 127.0.0.1 ${this.port}`, ...lines, "send", ""].join("\n");
    const args = ["-y", `hmac-sha256:culvert:${secret}`];
    const { code, stderr } = await run("nsupdate", args, { stdin: commands });
    if (code !== 0) throw new Error(`nsupdate: ${stderr}`);
  }

  /** All records of both zones: `NAME TYPE DATA`. */
  async transfer(): Promise<readonly string[]> {
    const args = ["@127.0.0.1", "-p", String(this.port), "+onesoa", "+nocomments", "+nostats"];
    const all = zones.map((name) => run("dig", [...args, "+nocmd", name, "AXFR"]));
    const text = (await Promise.all(all)).map(({ stdout }) => stdout).join("\n");
    // dig puts a blank instead of a tab behind what is long.
    return text.split("\n").filter((line) => /\sIN\s/.test(line)).map((line) => {
      const [name, , , type, ...data] = line.split(/\s+/);
      return `${name} ${type} ${data.join(" ")}`;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGTERM");
    await this.#process.status;
    await Deno.remove(this.#folder, { recursive: true });
  }
}
