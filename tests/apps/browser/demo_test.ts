/** The URL that `deno task demo` prints, in a browser. */
import { startDemo } from "../../support/demo.ts";
import { startBrowser, WatchedPage } from "./browser.ts";

Deno.test("the demo's page has a WebSocket and an event stream through the tunnel", async () => {
  await using demo = await startDemo();
  const browser = await startBrowser();
  try {
    await using page = await WatchedPage.open(browser, demo.url.href);
    await page.shows(demo.url.host);
    await page.shows("sent and received: hello");
    await page.shows('{"count":2}');
  } finally {
    await browser.close();
  }
});
