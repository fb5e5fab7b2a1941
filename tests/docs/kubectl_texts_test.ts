/** What kubectl prints is what the first column of troubleshooting.md says. */
import assert from "node:assert/strict";
import { Authority, withFolder } from "../support/certificates.ts";
import { startAgent, startRelay } from "../support/programs.ts";
import { refusingAddress } from "../support/target.ts";
import { codes, readText, tables } from "./markdown.ts";

const page = "docs/troubleshooting.md";

/** The texts of the page's first table, as patterns: `…` stands for anything. */
function documentedTexts(): RegExp[] {
  const [first] = tables(readText(page)).filter(({ headings }) => headings[0] === "text");
  assert.ok(first);
  const texts = first.rows.flatMap((row) => codes(row["text"]!));
  // Shorter ones are options and the like, which a message may well have in it.
  return texts.filter((text) => text.length > 20).map((text) => {
    const parts = text.split("…").map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    return new RegExp(parts.join(".*"));
  });
}

const hasKubectl = await canRun("kubectl", ["version", "--client"]);

async function canRun(command: string, args: string[]): Promise<boolean> {
  try {
    const { success } = await new Deno.Command(command, { args, stdout: "null", stderr: "null" })
      .output();
    return success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** The last line that kubectl prints, with its prompts in front. */
async function kubectl(folder: string, ...args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await new Deno.Command("kubectl", {
    // Each call discovers the API's resources anew: they are not cached.
    args: ["--kubeconfig", "/dev/null", "--cache-dir", `${folder}/${crypto.randomUUID()}`, ...args],
    env: { HOME: folder, NO_PROXY: "*" },
    stdin: "null",
  }).output();
  const lines = new TextDecoder().decode(stderr).trimEnd().split("\n");
  return new TextDecoder().decode(stdout) + lines.at(-1);
}

Deno.test({
  name: "troubleshooting.md: kubectl prints the texts of the first column",
  ignore: !hasKubectl,
  fn: (t) =>
    withFolder(async (folder) => {
      const authority = await Authority.create(folder, "relay");
      const { certPath, keyPath } = await authority.issue("relay", "DNS:localhost,IP:127.0.0.1");
      const target = refusingAddress();
      const entry = (id: string, targetAddr: string) => ({
        id,
        token: `${id}-token-0123456789`,
        targetAddr,
      });
      const clusters = [entry("dev", target), entry("away", target), entry("other", "127.0.0.1:1")];
      const callers = JSON.stringify([
        { name: "me", token: "me-0123456789abcdef", clusters: ["dev", "away", "other"] },
      ]);
      await using plain = await startRelay({ clusters });
      await using tls = await startRelay({
        clusters,
        args: ["--tls-cert", certPath, "--tls-key", keyPath, "--caller-tokens", callers],
      });
      await using _dev = await startAgent({
        relayUrl: plain.connectUrl,
        token: clusters[0]!.token,
        target,
      });
      await using _other = await startAgent({
        relayUrl: plain.connectUrl,
        token: clusters[2]!.token,
        target,
      });

      const http = `http://${plain.internalAddress}`;
      const https = `https://${tls.internalAddress}/tunnel/dev`;
      const ca = ["--certificate-authority", authority.caPath];
      const token = ["--token", "me-0123456789abcdef"];
      const cases: Record<string, readonly string[]> = {
        "nothing listens": ["--server", `http://${refusingAddress()}`],
        "https to plain HTTP": ["--server", http.replace("http:", "https:"), ...token],
        "http to TLS": ["--server", https.replace("https:", "http:")],
        "an unknown CA": ["--server", https, ...token],
        "a name that is not in the certificate": [
          ...["--server", https, ...ca, ...token],
          ...["--tls-server-name", "relay.example.com"],
        ],
        "no credential": ["--server", https, ...ca],
        "a wrong token": ["--server", https, ...ca, "--token", "wrong-0123456789abcd"],
        "a cluster of others": ["--server", https.replace("dev", "theirs"), ...ca, ...token],
        "no agent": ["--server", `${http}/tunnel/away`],
        "no path": ["--server", http],
        "another target": ["--server", `${http}/tunnel/other`],
        "a target that is down": ["--server", `${http}/tunnel/dev`],
        "impersonation": ["--server", `${http}/tunnel/dev`, "--as", "nobody"],
      };
      const texts = documentedTexts();
      for (const [name, args] of Object.entries(cases)) {
        await t.step(name, async () => {
          const line = await kubectl(folder, ...args, "get", "pods");
          assert.ok(texts.some((text) => text.test(line)), line);
        });
      }
    }),
});
