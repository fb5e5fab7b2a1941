/** A browser in which somebody signs in for a program. */
import assert from "node:assert/strict";
import type { Answer, SocketBrowser } from "./programs.ts";
import { navigation } from "./world.ts";

/** Opens the page that a program names, says yes, signs in, and comes back to the program. */
export async function signInFor(browser: SocketBrowser, url: string): Promise<Answer> {
  const asked = await browser.open(url);
  assert.equal(asked.status, 200, asked.text);
  const said = await consent(browser, asked);
  const callback = await browser.open(nextOf(said));
  assert.equal(callback.status, 200, callback.text);
  return await browser.send(nextOf(callback), { headers: navigation });
}

/** Sends the form of the page that names the program. */
export async function consent(
  browser: SocketBrowser,
  asked: Answer,
  more: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const request = /name="request" value="([^"]+)"/.exec(asked.text)?.[1];
  assert.ok(request, asked.text);
  const { origin } = new URL(asked.url);
  return await browser.send(`${origin}/.culvert/authorize`, {
    method: "POST",
    headers: {
      Origin: origin,
      "Sec-Fetch-Site": "same-origin",
      "Content-Type": "application/x-www-form-urlencoded",
    },
    body: new URLSearchParams({ request, ...more }).toString(),
  });
}

/** Where a page goes on to by itself. */
export function nextOf({ text }: Answer): string {
  const url = /http-equiv="refresh" content="0;url=([^"]+)"/.exec(text)?.[1];
  assert.ok(url, text);
  return url.replaceAll("&amp;", "&");
}
