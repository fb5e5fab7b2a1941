/** A real bind9 with a zone that takes signed updates. */
import { run } from "../../e2e/command.ts";
import { eventually } from "../../support/deadline.ts";
import { freePort } from "../../support/free_port.ts";
import type { TsigKey } from "../../../lib/operator/dns/message.ts";

const named = "/usr/sbin/named";
export const zone = "a.example.com";
const secret = "c2VjcmV0IGZvciB1cGRhdGVzIG9mIHRoZSB6b25lISE=";

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
      zone "${zone}" { type primary; file "${folder}/zone"; allow-update { key "culvert."; }; };\n`,
    );
    await Deno.writeTextFile(
      `${folder}/zone`,
      `$TTL 60\n@ IN SOA ns.${zone}. root.${zone}. 1 60 60 60 60\n@ IN NS ns.${zone}.\nns IN A 127.0.0.1\n` +
        `taken IN A 192.0.2.1\n`,
    );
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

  /** All records of the zone: `NAME TYPE DATA`. */
  async transfer(): Promise<readonly string[]> {
    const args = ["@127.0.0.1", "-p", String(this.port), "+onesoa", "+nocomments", "+nostats"];
    const { stdout } = await run("dig", [...args, "+nocmd", zone, "AXFR"]);
    return stdout.split("\n").filter((line) => line.includes("\tIN\t")).map((line) => {
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
