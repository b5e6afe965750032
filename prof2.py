import sys
exec(open("/tmp/w2/big/train2.py").read().split("before, peak")[0])
from lastlayer.classifier.journal import Lines
class L(Lines):
    def note(self, text): print(int(anonymous()-b), int(peak[0]-b), text[:60], flush=True)
import threading,time
peak=[0.0]; b=anonymous()
def watch():
    while True:
        peak[0]=max(peak[0], anonymous()); time.sleep(.01)
threading.Thread(target=watch, daemon=True).start()
Classifier(epochs=1, listener=L()).fit("/tmp/w2/big/b2.csv", "y")
print(int(anonymous()-b), int(peak[0]-b))
