// Search from a file: browsers start no worker from file://, so that its script runs in a hidden frame instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.appendChild(this.frame);
      const inside = this.frame.contentWindow;
      addEventListener("message", (event) => {
        if (event.source !== inside) return;
        this.dispatchEvent(new MessageEvent("message", { data: event.data }));
        this.onmessage?.(event);
      });
      this.ready = new Promise((done, failed) => {
        const page = inside.document;
        page.open();
        page.write(
          "<script>" +
            "postMessage = (data) => parent.postMessage(data, '*');" +
            "importScripts = (...urls) => urls.reduce((all, url) => all.then(() => new Promise((done) => {" +
            "const script = document.createElement('script'); script.src = url; script.onload = done;" +
            "document.body.appendChild(script) })), Promise.resolve())" +
            "</scr" + "ipt>",
        );
        const script = page.createElement("script");
        script.src = url;
        script.onload = done;
        script.onerror = failed;
        page.close();
        page.body.appendChild(script);
      });
    }
    postMessage(data) {
      const inside = this.frame.contentWindow;
      this.ready.then(() => inside.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
